import asyncio
from collections.abc import AsyncIterator

import pytest

from graph.jwks import KeysUnavailable, PublishedKeys
from graph.tokens import InvalidToken, Tokens
from tests.graph.signing import (
    EC,
    ED,
    ISS,
    OTHER_RSA,
    RSA,
    KeyServer,
    issuer,
    jwk,
    key_server,
    token,
)

OLD, NEW = {"kid": "old"}, {"kid": "new"}


class Clock:
    """A clock that only the test moves, in seconds."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(PublishedKeys.__init__, "__defaults__", (clock,))
    return clock


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server(jwk(RSA, "old")) as server:
        yield server


@pytest.fixture
def tokens(server: KeyServer, clock: Clock) -> Tokens:
    assert clock
    return Tokens([issuer(jwks_url=server.url)])


async def refused(tokens: Tokens, given: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        await tokens.verify(given)
    return str(caught.value)


async def test_keys_are_fetched_once_for_all_who_wait(server: KeyServer, tokens: Tokens) -> None:
    server.hold.clear()
    waiting = [asyncio.create_task(tokens.verify(token(headers=OLD))) for _ in range(20)]
    await asyncio.sleep(0)  # until they wait
    waiting[0].cancel()  # whoever gives up takes nothing from the others
    server.hold.set()
    assert {claims.subject for claims in await asyncio.gather(*waiting[1:])} == {"hr-1"}
    await tokens.verify(token(headers=OLD))
    assert server.asked == 1


async def test_a_new_key_is_fetched_and_the_old_one_goes(
    server: KeyServer, tokens: Tokens, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    server.keys = [jwk(OTHER_RSA, "new")]
    clock.time += 31
    await tokens.verify(token(OTHER_RSA, headers=NEW))
    assert server.asked == 2
    assert await refused(tokens, token(headers=OLD)) == "there is no such key for the algorithm"


async def test_keys_are_asked_for_again_after_ten_minutes(
    server: KeyServer, tokens: Tokens, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    server.keys = [jwk(OTHER_RSA, "new")]
    clock.time += 599
    await tokens.verify(token(headers=OLD))
    assert server.asked == 1
    clock.time += 1
    assert await refused(tokens, token(headers=OLD)) == "there is no such key for the algorithm"
    assert server.asked == 2


async def test_a_flood_of_unknown_keys_does_not_reach_the_issuer(
    server: KeyServer, tokens: Tokens, clock: Clock
) -> None:
    await tokens.verify(token(headers=OLD))
    for round_ in (1, 2):
        clock.time += 30
        flood = [refused(tokens, token(headers={"kid": f"k{n}"})) for n in range(50)]
        assert set(await asyncio.gather(*flood)) == {"there is no such key for the algorithm"}
        assert server.asked == 1 + round_


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
async def test_old_keys_go_on_where_no_new_ones_come(
    server: KeyServer, tokens: Tokens, clock: Clock, answer: bytes
) -> None:
    server.answer = answer
    with pytest.raises(KeysUnavailable):
        await tokens.verify(token(headers=OLD))
    with pytest.raises(KeysUnavailable):  # at once, without another fetch
        await tokens.verify(token(headers=OLD))
    assert server.asked == 1
    server.answer = None
    clock.time += 5
    await tokens.verify(token(headers=OLD))
    server.answer = answer
    clock.time += 600
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert (await tokens.verify(token(headers=OLD))).subject == "hr-1"
    assert server.asked == 3


async def test_a_redirect_is_not_followed(tokens: Tokens, server: KeyServer) -> None:
    async with key_server(jwk(RSA, "old")) as other:
        head = f"HTTP/1.1 302 Elsewhere\r\nlocation: {other.url}\r\ncontent-length: 0\r\n\r\n"
        server.answer = head.encode()
        with pytest.raises(KeysUnavailable):
            await tokens.verify(token(headers=OLD))
        assert other.asked == 0


async def test_a_slow_issuer_is_not_waited_for(
    server: KeyServer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.jwks._TIMEOUT", 0.05)
    server.hold.clear()
    with pytest.raises(KeysUnavailable):
        await tokens.verify(token(headers=OLD))


async def test_nobody_there_is_not_a_bad_token(clock: Clock) -> None:
    assert clock
    tokens = Tokens([issuer(jwks_url="http://127.0.0.1:1/keys")])
    with pytest.raises(KeysUnavailable):
        await tokens.verify(token(headers=OLD))


async def test_what_is_refused_anyway_fetches_nothing(server: KeyServer, tokens: Tokens) -> None:
    for given in (token("", "none"), token("x" * 32, "HS256"), token(iss="https://x.example")):
        await refused(tokens, given)
    assert server.asked == 0


async def test_only_keys_that_sign_are_used(server: KeyServer, tokens: Tokens) -> None:
    server.keys = [
        {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "shared"},
        jwk(RSA, "encrypts", use="enc"),
        jwk(RSA, "wraps", key_ops=["wrapKey"]),
        jwk(RSA, "other", alg="RS512"),
        jwk(RSA, "odd", n=1),
        {"kty": "RSA"},
        "text",  # type: ignore[list-item]  # what an issuer should not say
        jwk(EC, "ec", "ES256"),
        jwk(ED, "ed", "EdDSA"),
        jwk(RSA, "pss", alg="PS256"),
    ]
    for kid in ("shared", "encrypts", "wraps", "other", "odd", "pss", "ec"):
        reason = await refused(tokens, token(headers={"kid": kid}))
        assert reason == "there is no such key for the algorithm"
    assert (await tokens.verify(token(EC, "ES256", {"kid": "ec"}))).issuer == ISS
    assert (await tokens.verify(token(ED, "EdDSA", {"kid": "ed"}))).issuer == ISS
    assert (await tokens.verify(token(RSA, "PS256", {"kid": "pss"}))).issuer == ISS
    assert server.asked == 1


async def test_without_a_name_the_only_key_is_meant(server: KeyServer, clock: Clock) -> None:
    tokens = Tokens([issuer(jwks_url=server.url)])
    assert (await tokens.verify(token())).subject == "hr-1"
    server.keys = [jwk(RSA, "old"), jwk(OTHER_RSA, "new")]
    clock.time += 600
    assert await refused(tokens, token()) == "there is no such key for the algorithm"


async def test_the_key_of_another_issuer_is_not_this_one_s(server: KeyServer, clock: Clock) -> None:
    assert clock
    async with key_server(jwk(OTHER_RSA, "theirs")) as other:
        theirs = issuer(issuer="https://other.example", jwks_url=other.url)
        tokens = Tokens([issuer(jwks_url=server.url), theirs])
        good = token(OTHER_RSA, headers={"kid": "theirs"}, iss="https://other.example")
        assert (await tokens.verify(good)).issuer == "https://other.example"
        forged = token(OTHER_RSA, headers={"kid": "theirs"})
        assert await refused(tokens, forged) == "there is no such key for the algorithm"
