"""Unusual credentials, and the responses of a server process in production mode."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt

from tests.support.process import http_client, serving_process
from tests.support.signing import EC, ISS, claims, jwk, key_server, token
from tests.support.sockets import receive_message
from tests.system.test_production import (
    COUNT,
    EVERYTHING,
    NOT_ACCEPTED,
    SETTINGS,
    Server,
    bearer,
    closed,
    error,
    production,
)

ODD_HEADERS: dict[str, tuple[Any, ...]] = {
    "kid": (None, 1, 1.5, True, [], ["k"], {}),
    "typ": (None, 1, [], {}, "", "logout+jwt"),
    "crit": (None, 1, [], ["exp"], {}),
    "b64": (None, False, True, 1, "no"),
}
ODD_CLAIMS: dict[str, tuple[Any, ...]] = {
    "sub": (None, 1, 1.5, True, [], {}, "", "\0", "\ud800", "\uffff", "\u2028", "x" * 256),
    "aud": (None, 1, [], {}, [["roster"]], [None], {"roster": 1}, "", ["other"]),
    "iss": (None, 1, [ISS], {}, ""),
    "exp": (None, "2100", [], {}, True, -1, 10**400, float("nan"), float("inf"), 2**63),
    "nbf": ("1", [], {}, True, -1, 10**400, float("nan"), 2**40),
    "iat": ("1", [], {}, True, -1, 10**400, float("nan"), 2**40),
    "jti": (None, 1, [], {}),
    "scope": (1, True, {}, [1], [None], [["users:read"]], ["users:read users:write"]),
    "scp": (1, {}, [1], ["not users:read"]),
    "permissions": (1, {}, [1], ["users:read\t"]),
}
# Headers and claims of tokens that their issuer has signed and the server rejects.
ODD_TOKENS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"{n} is {v!r}": ({n: v}, {}) for n, values in ODD_HEADERS.items() for v in values},
    **{f"{n} is {v!r:.40}": ({}, {n: v}) for n, values in ODD_CLAIMS.items() for v in values},
}
# Unknown headers and claims are accepted.
ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deep": ({}, {"x": json.loads("[" * 900 + "]" * 900)}),
    "many digits": ({}, {"x": 10**4_000}),
    "another header": ({"jku": 1, "x5c": None, "zip": []}, {}),
}


def signed(headers: dict[str, Any], changed: dict[str, Any]) -> str:
    """Signs claims that a library would refuse to sign."""
    parts = [{"alg": "ES256"} | headers, claims() | {"scope": EVERYTHING} | changed]
    encode = base64.urlsafe_b64encode
    text = b".".join(encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = jwt.get_algorithm_by_name("ES256").sign(text, EC)
    return f"Bearer {text.decode()}.{encode(signature).decode().rstrip('=')}"


async def test_unusual_token_is_rejected_on_every_transport(tmp_path: Path) -> None:
    async with production(f"sqlite:///{tmp_path}/roster.db") as server:
        for name, odd in (ODD_TOKENS | ACCEPTED).items():
            authorization = signed(*odd)
            expected = 200 if name in ACCEPTED else 401
            answer = await server.send(authorization, COUNT)
            assert (name, answer.status_code) == (name, expected)
            headers = {"authorization": authorization, "accept": "text/event-stream"}
            streamed = await server.http.post("/graphql", json={"query": COUNT}, headers=headers)
            assert (name, streamed.status_code) == (name, expected)
            async with server.socket({"authorization": authorization}) as live:
                if name in ACCEPTED:
                    assert await receive_message(live) == {"type": "connection_ack"}
                    continue
                assert await closed(live) == (4403, NOT_ACCEPTED)
            for each in (answer, streamed):
                assert each.json() == error("UNAUTHENTICATED", NOT_ACCEPTED)
        log = await server.log()
    assert "reason='the claim `scope` is neither a string nor a list of scope names'" in log
    assert "Traceback" not in log


async def test_unusual_key_of_an_issuer_does_not_affect_its_other_keys(tmp_path: Path) -> None:
    settings: dict[str, Any] = {n: v for n, v in SETTINGS.items() if n != "ROSTER_AUTH_PUBLIC_KEY"}
    settings |= {"ROSTER_DATABASE_URL": f"sqlite:///{tmp_path}/roster.db"}
    odd: dict[str, Any] = {"kty": "EC", "kid": "new", "key_ops": None}
    async with (
        key_server(jwk(EC, "old", "ES256"), odd) as keys,
        serving_process(**settings, ROSTER_AUTH_JWKS_URL=keys.url) as (process, url),
        http_client(url) as http,
    ):
        server = Server(process, url, http, settings)
        known = f"Bearer {token(EC, 'ES256', {'kid': 'old'}, scope=EVERYTHING)}"
        unknown = f"Bearer {token(EC, 'ES256', {'kid': 'new'}, scope=EVERYTHING)}"
        for _ in range(2):
            assert await server.ask(known, COUNT) == {"users": {"totalCount": 0}}
            assert (await server.send(unknown, COUNT)).status_code == 401
            async with server.socket({"authorization": known}) as live:
                assert await receive_message(live) == {"type": "connection_ack"}
            async with server.socket({"authorization": unknown}) as live:
                assert await closed(live) == (4403, NOT_ACCEPTED)
            async with server.stream(unknown, replay=False) as response:
                assert response.status_code == 401
        assert keys.request_count == 1


async def test_scopes_can_be_a_string_or_a_list(database_url: str) -> None:
    async with production(database_url) as server:
        await server.add("ada")
        for claim in ("scope", "scp", "permissions"):
            for value in ("users:read", ["users:read"], ["openid", "users:read"]):
                authorization = signed({}, {"scope": None, claim: value})
                assert await server.ask(authorization, COUNT) == {"users": {"totalCount": 1}}


async def test_valid_credentials_pass_while_their_address_sends_invalid_ones(
    database_url: str,
) -> None:
    """On every transport, for known and new credentials; invalid ones are rate limited."""
    limited = "Too many invalid tokens from this address. Try again later."
    headers = {"accept": "text/event-stream"}
    async with production(database_url, ROSTER_RATE_LIMIT="30/hour") as server:
        known = [bearer("users:read"), await server.key()]
        for each in known:
            await server.ask(each, COUNT)
        invalid = [bearer(exp=1), "Bearer x", f"Bearer roster_{'A' * 43}"]
        answers = [(await server.send(each, COUNT)).status_code for each in invalid * 11]
        assert answers == [401] * 30 + [429] * 3
        for each in [*known, bearer("users:read", jti="new"), await server.key()]:
            assert await server.ask(each, COUNT) == {"users": {"totalCount": 0}}
            streamed = await server.http.post(
                "/graphql", json={"query": COUNT}, headers=headers | {"authorization": each}
            )
            assert streamed.status_code == 200
            assert '{"data":{"users":{"totalCount":0}}}' in streamed.text
            async with server.socket({"authorization": each}) as live:
                assert await receive_message(live) == {"type": "connection_ack"}
            async with server.socket({}, authorization=each) as live:
                assert await receive_message(live) == {"type": "connection_ack"}
        for each in invalid:
            answer = await server.send(each, COUNT)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
            assert answer.json() == error("RATE_LIMITED", limited)
            async with server.stream(each, replay=False) as response:
                assert response.status_code == 429
            async with server.socket({"authorization": each}) as live:
                assert await closed(live) == (1013, limited)
