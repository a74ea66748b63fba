"""Issuers to test with: keys of every kind, the tokens they sign, and a server of their keys."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from graph.auth.issuers import Issuer

ISS = "https://id.example"
# Settings of a server that accepts the tokens of `token`, besides where it finds the keys.
TRUSTED: dict[str, Any] = {"auth_issuer": ISS, "auth_audience": "roster"}
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Any] = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED}
SECRET = "a secret that has as many bytes as it needs"  # noqa: S105 - of this test

DAY = 86_400  # seconds

# Why tokens are rejected.
EARLY = "the token is not valid yet: compare the clocks"
EXPIRED = "the token has expired"
FORGED = "the signature is not that of the issuer's key"
INCOMPLETE = "`iss`, `aud`, `exp` or `sub` is missing"
OTHER_AUDIENCE = "`aud` does not contain the configured audience"
REASONS = {EARLY, EXPIRED, FORGED, INCOMPLETE, OTHER_AUDIENCE}


def pem(private: Any) -> str:
    public = private.public_key()
    text: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def claims(**changed: Any) -> dict[str, Any]:
    """Returns valid claims with changes; a claim that is None is omitted.

    They are valid for a day: modules make tokens when tests are collected, long before some run.
    """
    now = int(time.time())
    values = {"iss": ISS, "aud": "roster", "sub": "hr-1", "exp": now + DAY, "iat": now} | changed
    return {name: value for name, value in values.items() if value is not None}


def token(
    key: Any = RSA, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changed: Any
) -> str:
    return jwt.encode(claims(**changed), key, algorithm, headers)


def issuer(**options: Any) -> Issuer:
    key = {} if {"jwks_url", "secret"} & set(options) else {"public_key": pem(RSA)}
    return Issuer(**{"issuer": ISS, "audience": "roster"} | key | options)


def jwk(private: Any, kid: str | None, algorithm: str = "RS256", **members: Any) -> dict[str, Any]:
    fields: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(
        private.public_key(), as_dict=True
    )
    fields = {k: v for k, v in fields.items() if k != "key_ops"}
    return fields | ({"kid": kid} if kid else {}) | members


@dataclass
class KeyServer:
    """Serves a key set, or another response that a test chooses."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    request_count: int = 0
    heads: list[str] = field(default_factory=list)
    answer: bytes | None = None  # the whole response, if it is not the key set
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    connections: list[asyncio.Task[Any] | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        self.request_count += 1
        await self.hold.wait()
        body = json.dumps({"keys": self.keys}).encode()
        length = b"content-length: %d\r\n\r\n" % len(body)
        writer.write(self.answer or b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + length + body)
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection and waits: one that is closed after its loop is reported as an error."""
    writer.close()
    with suppress(OSError):  # the client has closed it
        await writer.wait_closed()


@asynccontextmanager
async def key_server(*keys: dict[str, Any], port: int = 0) -> AsyncIterator[KeyServer]:
    served = KeyServer(keys=list(keys))
    served.hold.set()
    server = await asyncio.start_server(served.serve, "127.0.0.1", port)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    try:
        yield served
    finally:
        served.hold.set()
        server.close()
        await asyncio.gather(*filter(None, served.connections), return_exceptions=True)
        await server.wait_closed()
