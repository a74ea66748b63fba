import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from graph.auth.jwks import KeysUnavailableError
from graph.auth.tokens import Claims, InvalidToken, TokenVerifier
from tests.support.clock import Clock
from tests.support.signing import (
    EC,
    ED,
    FORGED,
    ISS,
    OTHER_RSA,
    RSA,
    KeyServer,
    close,
    issuer,
    jwk,
    key_server,
    token,
)

OLD, NEW = {"kid": "old"}, {"kid": "new"}
WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - must be rejected


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server(jwk(RSA, "old")) as server:
        yield server


@pytest.fixture
def tokens(server: KeyServer, clock: Clock) -> TokenVerifier:
    return TokenVerifier([issuer(jwks_url=server.url)], clock)


async def rejection_reason(tokens: TokenVerifier, given: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        await tokens.verify(given)
    return str(caught.value)


async def test_concurrent_verifications_share_one_fetch(
    server: KeyServer, tokens: TokenVerifier
) -> None:
    server.hold.clear()
    waiting = [asyncio.create_task(tokens.verify(token(headers=OLD))) for _ in range(20)]
    await asyncio.sleep(0)  # until they all wait
    waiting[0].cancel()  # a cancelled waiter must not affect the others
    server.hold.set()
    assert {claims.subject for claims in await asyncio.gather(*waiting[1:])} == {"hr-1"}
    await tokens.verify(token(headers=OLD))
    assert server.request_count == 1


async def test_unknown_key_id_triggers_a_fetch_that_replaces_the_keys(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    server.keys = [jwk(OTHER_RSA, "new")]
    clock.time += 31
    await tokens.verify(token(OTHER_RSA, headers=NEW))
    assert server.request_count == 2
    assert (
        await rejection_reason(tokens, token(headers=OLD))
        == "there is no such key for the algorithm"
    )


async def test_keys_are_fetched_again_after_ten_minutes(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    server.keys = [jwk(OTHER_RSA, "new")]
    clock.time += 599
    await tokens.verify(token(headers=OLD))
    assert server.request_count == 1
    clock.time += 1
    assert (
        await rejection_reason(tokens, token(headers=OLD))
        == "there is no such key for the algorithm"
    )
    assert server.request_count == 2


async def test_unknown_key_ids_trigger_one_fetch_per_30_seconds(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    for round_ in (1, 2):
        clock.time += 30
        flood = [rejection_reason(tokens, token(headers={"kid": f"k{n}"})) for n in range(50)]
        assert set(await asyncio.gather(*flood)) == {"there is no such key for the algorithm"}
        assert server.request_count == 1 + round_


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 Nothing\r\n\r\n",
        b"HTTP/1.1 302 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b" " * (1024 * 1024 + 1),
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>",
        b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"keys": []}',
        b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"keys": {"a": 1}}',
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"[" * 100_000,
        b"nonsense\r\n\r\n",
    ],
)
async def test_cached_keys_are_used_while_fetches_fail(
    server: KeyServer, tokens: TokenVerifier, clock: Clock, answer: bytes
) -> None:
    server.answer = answer
    with pytest.raises(KeysUnavailableError):
        await tokens.verify(token(headers=OLD))
    with pytest.raises(KeysUnavailableError):  # immediately, without another fetch
        await tokens.verify(token(headers=OLD))
    assert server.request_count == 1
    server.answer = None
    clock.time += 5
    await tokens.verify(token(headers=OLD))
    server.answer = answer
    clock.time += 600
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert server.request_count == 3


GOOD = jwk(RSA, "old")
ODD_VALUES: list[Any] = [None, True, 1, 1.5, "x", "", [], [1], [[]], {}, {"": {}}]
ODD_KEYS: dict[str, Any] = {
    "no parameters": {"kty": "EC", "kid": "new", "key_ops": None},
    "no type": {"kid": "new"},
    **{
        f"{name} is {json.dumps(value)}": jwk(OTHER_RSA, "new") | {name: value}
        for name in ("kty", "kid", "use", "key_ops", "alg", "n", "e", "d")
        for value in ODD_VALUES
    },
    **{
        f"{name} is {json.dumps(value)}": jwk(EC, "new", "ES256") | {name: value}
        for name in ("crv", "x", "y")
        for value in (*ODD_VALUES, "\u00e9", "P-521", "A" * 43)
    },
    "an unknown type": {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AAAA"},
    "an unknown curve": {"kty": "OKP", "crv": "X25519", "kid": "new", "x": "A" * 43},
    "a point beside the curve": jwk(EC, "new", "ES256", x="A" * 43),
    "an even modulus": {"kty": "RSA", "kid": "new", "n": "A" * 342 + "A", "e": "AQAB"},
    "an exponent of one": jwk(OTHER_RSA, "new", e="AQ"),
    "a modulus of 80,000 digits": jwk(OTHER_RSA, "new", n="B" * 80_000),
    "a private key": {**jwk(OTHER_RSA, "new"), "d": "AQAB"},
    "a certificate": jwk(OTHER_RSA, "new", x5c=["no certificate"], x5t=1),
    **{f"{json.dumps(value)}": value for value in ODD_VALUES},
}


@pytest.mark.parametrize("odd", ODD_KEYS.values(), ids=ODD_KEYS)
async def test_invalid_key_does_not_affect_other_keys(
    server: KeyServer, tokens: TokenVerifier, clock: Clock, odd: Any
) -> None:
    for keys in ([odd, GOOD], [GOOD, odd]):
        server.keys = keys
        assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
        clock.time += 600
    assert server.request_count == 2
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"connection: close", *headers, b"", body]
    return b"\r\n".join(lines)


def key_set(**members: Any) -> bytes:
    return json.dumps({"keys": [GOOD]} | members).encode()


UNUSABLE = {
    **{
        f"JSON {body[:20]!r}": answer(body)
        for body in (b"", b"1", b"null", b'"keys"', b"[]", b"[1]", b'{"keys":1}', b'{"keys":{}}')
    },
    "no key": answer(b'{"keys":[]}'),
    "no key is readable": answer(b'{"keys":[{},1,{"kty":"RSA"}]}'),
    "not UTF-8": answer(key_set().replace(b"old", b"\xff")),
    "deeper than Python reads": answer(key_set(x=1).replace(b": 1", b":" + b"[" * 100_000)),
    "too long": answer(key_set() + b" " * 2**20),
    "too many": answer(json.dumps({"keys": [GOOD] * 10_000}).encode()),
    "only a key for another algorithm": answer(key_set(keys=[jwk(RSA, "old", alg="RS512")])),
    "only a weak key": answer(key_set(keys=[jwk(WEAK_RSA, "old")])),
    "only a private key": answer(key_set(keys=[GOOD | {"d": "AQAB"}])),
    "cut off": answer(key_set()[:-20], b"content-length: 10000"),
    "compressed": answer(gzip.compress(key_set()), b"content-encoding: gzip"),
    "compressed, by its name alone": answer(key_set(), b"content-encoding: br"),
    "wrong chunks": answer(b"zz\r\n" + key_set(), b"transfer-encoding: chunked"),
    "no content": answer(b"", status=b"204 No Content"),
    "partial": answer(key_set(), status=b"206 Partial Content"),
    "an error": answer(key_set(), status=b"404 Not Found"),
    "a status of no kind": answer(key_set(), status=b"999 Odd"),
    "another protocol": b"SSH-2.0-OpenSSH_9\r\n",
    "nothing": b"\r\n",
}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE)
async def test_cached_keys_stay_valid_after_an_unusable_response(
    server: KeyServer, tokens: TokenVerifier, clock: Clock, unusable: bytes
) -> None:
    await tokens.verify(token(headers=OLD))
    server.answer = unusable
    for n in range(1, 4):
        clock.time += 600
        assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
        await rejection_reason(tokens, token(headers=NEW))  # waits for the end of the fetch
        assert server.request_count == 1 + n


USABLE = {
    "a mark of the byte order": answer(b"\xef\xbb\xbf" + key_set()),
    "UTF-16": answer(key_set().decode().encode("utf-16")),
    "another media type": answer(key_set(), b"content-type: text/html; charset=x"),
    "an integer of 5,000 digits": answer(key_set(x=1).replace(b": 1", b": " + b"9" * 5_000)),
    "no number": answer(key_set(x=1).replace(b": 1", b": NaN")),
    "the same member twice": answer(b'{"keys":1,' + key_set()[1:]),
    "a key with an empty name": answer(key_set(**{"": ""})),
    "chunks": answer(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(key_set()), key_set()), b"transfer-encoding: chunked"
    ),
    "an interim response": b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(key_set()),
    "after 10,000 keys of others": answer(
        json.dumps(
            {"keys": [{"kty": "oct", "kid": str(n)} for n in range(10_000)] + [GOOD]}
        ).encode()
    ),
    "after 10,000 keys that cannot be read": answer(
        json.dumps(
            {"keys": [{"kty": "RSA", "kid": str(n)} for n in range(10_000)] + [GOOD]}
        ).encode()
    ),
}


@pytest.mark.parametrize("usable", USABLE.values(), ids=USABLE)
async def test_keys_are_read_from_unusual_responses(
    server: KeyServer, tokens: TokenVerifier, usable: bytes
) -> None:
    server.answer = usable
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"


async def verify_when_fetched(tokens: TokenVerifier, clock: Clock) -> Claims:
    """Repeats the fetch: on a busy machine it can exceed the short timeout of a test."""
    async with asyncio.timeout(60):
        while True:
            clock.time += 60
            with suppress(KeysUnavailableError):
                return await tokens.verify(token(headers=OLD))


@pytest.mark.parametrize(
    "part", [b" ", b"x: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["body", "head", "interim"]
)
@pytest.mark.parametrize("paused", [False, True])
async def test_endless_response_is_aborted_and_the_next_fetch_succeeds(
    clock: Clock, part: bytes, *, paused: bool
) -> None:
    """Also in the headers, which the timeout of a single read does not bound."""
    endless, ended = True, asyncio.Event()
    connections: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):  # on a busy machine, the fetch can end before
            await reader.readuntil(b"\r\n\r\n")
        if not endless:
            writer.write(answer(key_set()))
        else:
            writer.write(b"" if part.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
            writer.write(b"\r\n" if part == b" " else b"")
            with suppress(OSError):
                while True:
                    writer.write(part if paused else part * 1_000)
                    await writer.drain()
                    await asyncio.sleep(0.01 if paused else 0)
            ended.set()
        await close(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        tokens = TokenVerifier([issuer(jwks_url=url)], clock, fetch_timeout=0.2)
        while not ended.is_set():  # the fetch has closed its connection
            clock.time += 60
            with pytest.raises(KeysUnavailableError):
                await tokens.verify(token(headers=OLD))
        endless = False
        assert (await verify_when_fetched(tokens, clock)).subject == "hr-1"
        await asyncio.gather(*filter(None, connections), return_exceptions=True)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("works", [False, True])
async def test_keys_are_fetched_at_most_twice_a_minute(
    server: KeyServer, tokens: TokenVerifier, clock: Clock, *, cached: bool, works: bool
) -> None:
    if cached:
        await tokens.verify(token(headers=OLD))
        clock.time += 600
    server.answer = None if works else answer(b"{}")
    fetch_times: list[float] = []
    for n in range(5 * 60):
        before = server.request_count
        for kid in ("old", f"unknown {n}"):
            with suppress(InvalidToken, KeysUnavailableError):
                await tokens.verify(token(headers={"kid": kid}))
        fetch_times += [clock.time] * (server.request_count - before)
        clock.time += 1
    assert all(
        third - first >= 60 for first, third in zip(fetch_times, fetch_times[2:], strict=False)
    )
    assert len(fetch_times) == 10


async def test_retry_after_names_the_next_possible_fetch(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    server.answer = answer(b"{}")
    waits = []
    for _ in range(4):
        with pytest.raises(KeysUnavailableError) as caught:
            await tokens.verify(token(headers=OLD))
        waits.append(caught.value.retry_after)
        clock.time += caught.value.retry_after
    assert waits == [5, 55, 5, 55]
    assert server.request_count == 4


async def test_damaged_key_stays_cached_and_a_removed_key_is_dropped(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    new = jwk(OTHER_RSA, "new")
    server.keys = [GOOD | {"key_ops": "verify"}, new]
    for _ in range(2):
        clock.time += 600
        assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
        assert (await tokens.verify(token(OTHER_RSA, headers=NEW))).subject == "hr-1"
    for left in ([new], [GOOD | {"use": "enc"}, new], [jwk(OTHER_RSA, "old")]):
        server.keys = [GOOD, new]
        clock.time += 600
        await tokens.verify(token(headers=OLD))
        server.keys = left
        clock.time += 600
        await rejection_reason(tokens, token(headers=OLD))


async def test_all_keys_with_one_key_id_are_tried(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    """Equal keys count once."""
    server.keys = [GOOD, GOOD, GOOD | {"alg": "RS256", "x5t": "AAAA"}]
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert (await tokens.verify(token())).subject == "hr-1"
    clock.time += 600
    server.keys = [jwk(OTHER_RSA, "old"), jwk(EC, "old", "ES256"), GOOD]
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert (await tokens.verify(token(OTHER_RSA, headers=OLD))).subject == "hr-1"
    assert (await tokens.verify(token(EC, "ES256", headers=OLD))).subject == "hr-1"
    unknown = rsa.generate_private_key(65537, 2048)
    assert await rejection_reason(tokens, token(unknown, headers=OLD)) == FORGED


async def test_at_most_four_keys_with_one_key_id_are_tried(
    server: KeyServer, tokens: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.keys = [jwk(rsa.generate_private_key(65537, 2048), "old") for _ in range(6)]
    tried: list[object] = []
    decode = jwt.decode

    def record(text: str, key: object, **options: Any) -> Any:
        tried.append(key)
        return decode(text, key, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("jwt.decode", record)
    assert await rejection_reason(tokens, token(headers=OLD)) == FORGED
    assert len(tried) == 4


async def test_log_of_a_fetch_contains_nothing_of_the_response(
    server: KeyServer, tokens: TokenVerifier, clock: Clock
) -> None:
    secret = "s3cret-7f"  # noqa: S105 - of this test
    with capture_logs() as logs:
        server.keys = [
            GOOD | {"kid": secret, "key_ops": secret},
            {"kty": "RSA", secret: secret},
            GOOD,
        ]
        await tokens.verify(token(headers=OLD))
        for body in (secret.encode(), b'{"keys":["%b"]}' % secret.encode()):
            server.answer = answer(body, b"x: " + secret.encode())
            clock.time += 600
            await rejection_reason(tokens, token(headers=NEW))  # waits for the fetch
    assert [entry["event"] for entry in logs] == [
        "ignored keys of an issuer that cannot be read",
        *["an issuer's keys cannot be fetched"] * 2,
    ]
    assert (logs[0]["ignored"], logs[0]["used"]) == (2, 1)
    assert secret not in str(logs)


async def test_redirect_of_a_key_fetch_is_not_followed(
    tokens: TokenVerifier, server: KeyServer
) -> None:
    async with key_server(jwk(RSA, "old")) as other:
        head = f"HTTP/1.1 302 Elsewhere\r\nlocation: {other.url}\r\ncontent-length: 0\r\n\r\n"
        server.answer = head.encode()
        with pytest.raises(KeysUnavailableError):
            await tokens.verify(token(headers=OLD))
        assert other.request_count == 0


async def test_slow_key_fetch_times_out(server: KeyServer) -> None:
    tokens = TokenVerifier([issuer(jwks_url=server.url)], fetch_timeout=0.05)
    server.hold.clear()
    with pytest.raises(KeysUnavailableError):
        await tokens.verify(token(headers=OLD))


async def test_unreachable_issuer_is_not_an_invalid_token(clock: Clock) -> None:
    tokens = TokenVerifier([issuer(jwks_url="http://127.0.0.1:1/keys")], clock)
    with pytest.raises(KeysUnavailableError):
        await tokens.verify(token(headers=OLD))


async def test_token_that_is_rejected_anyway_triggers_no_fetch(
    server: KeyServer, tokens: TokenVerifier
) -> None:
    for given in (token("", "none"), token("x" * 32, "HS256"), token(iss="https://x.example")):
        await rejection_reason(tokens, given)
    assert server.request_count == 0


async def test_only_signing_keys_are_used(server: KeyServer, tokens: TokenVerifier) -> None:
    server.keys = [
        {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "shared"},
        jwk(RSA, "encrypts", use="enc"),
        jwk(RSA, "wraps", key_ops=["wrapKey"]),
        jwk(RSA, "other", alg="RS512"),
        jwk(RSA, "odd", n=1),
        {"kty": "RSA"},
        "text",  # type: ignore[list-item]  # invalid, as some issuers publish it
        jwk(EC, "ec", "ES256"),
        jwk(ED, "ed", "EdDSA"),
        jwk(RSA, "pss", alg="PS256"),
    ]
    for kid in ("shared", "encrypts", "wraps", "other", "odd", "pss", "ec"):
        reason = await rejection_reason(tokens, token(headers={"kid": kid}))
        assert reason == "there is no such key for the algorithm"
    assert (await tokens.verify(token(EC, "ES256", {"kid": "ec"}))).issuer == ISS
    assert (await tokens.verify(token(ED, "EdDSA", {"kid": "ed"}))).issuer == ISS
    assert (await tokens.verify(token(RSA, "PS256", {"kid": "pss"}))).issuer == ISS
    assert server.request_count == 1


async def test_token_without_a_key_id_uses_the_only_key(server: KeyServer, clock: Clock) -> None:
    tokens = TokenVerifier([issuer(jwks_url=server.url)], clock)
    assert (await tokens.verify(token())).subject == "hr-1"
    server.keys = [jwk(RSA, "old"), jwk(OTHER_RSA, "new")]
    clock.time += 600
    assert await rejection_reason(tokens, token()) == "there is no such key for the algorithm"


async def test_key_of_another_issuer_is_not_used(server: KeyServer, clock: Clock) -> None:
    async with key_server(jwk(OTHER_RSA, "theirs")) as other:
        theirs = issuer(issuer="https://other.example", jwks_url=other.url)
        tokens = TokenVerifier([issuer(jwks_url=server.url), theirs], clock)
        good = token(OTHER_RSA, headers={"kid": "theirs"}, iss="https://other.example")
        assert (await tokens.verify(good)).issuer == "https://other.example"
        forged = token(OTHER_RSA, headers={"kid": "theirs"})
        assert await rejection_reason(tokens, forged) == "there is no such key for the algorithm"
