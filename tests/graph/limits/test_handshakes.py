"""Limits of WebSocket connections that have not authenticated yet."""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from graph.auth.guard import Guard
from graph.http.origins import Origins
from graph.limits.throttle import RateLimiter
from graph.observation import Operations
from graph.protocol.errors import RequestError
from graph.shutdown import Shutdown
from graph.websocket.connection import ConnectionLimits
from graph.websocket.endpoint import PROTOCOL, WebSocketEndpoint
from graph.websocket.operation import Services


async def test_new_handshake_evicts_the_oldest_of_its_address() -> None:
    rate_limiter = RateLimiter(None, 1, 2)
    out: list[str] = []
    with ExitStack() as others:
        with rate_limiter.handshake_slot("a", lambda: out.append("first")):
            others.enter_context(rate_limiter.handshake_slot("b", lambda: out.append("other")))
            second = others.enter_context(ExitStack())
            second.enter_context(rate_limiter.handshake_slot("a", lambda: out.append("second")))
            assert out == []
            others.enter_context(rate_limiter.handshake_slot("a", lambda: out.append("third")))
            assert out == ["first"]
        second.close()  # it has authenticated, which frees its slot
        others.enter_context(rate_limiter.handshake_slot("a", lambda: out.append("fourth")))
        assert out == ["first"]
        others.enter_context(rate_limiter.handshake_slot("a", lambda: out.append("fifth")))
        assert out == ["first", "third"]
    for name in ("sixth", "seventh"):  # closed connections no longer count
        others.enter_context(rate_limiter.handshake_slot("a", partial(out.append, name)))
    assert out == ["first", "third"]
    others.close()


class HeldGuard:
    """A guard whose check of credentials takes until `known`, and then rejects them."""

    def __init__(self, rate_limiter: RateLimiter) -> None:
        self._guard = Guard(rate_limiter, allow_anonymous=False, recheck_seconds=1)
        self.rate_limiter = rate_limiter
        self.reached = asyncio.Semaphore(0)
        self.known = asyncio.Event()
        self.tokens: list[str | None] = []

    async def authenticate(self, _: object, token: str | None) -> Any:
        self.tokens.append(token)
        self.reached.release()
        await self.known.wait()
        raise RequestError("UNAUTHENTICATED", "Not you", 401)

    def is_known(self, scope: Any, token: str | None) -> bool:
        return self._guard.is_known(scope, token)


class KnownCredentials:
    """An authenticator that has checked the credentials `known` before."""

    def is_known(self, token: str) -> bool:
        return token == "known"  # noqa: S105 - of this test


class Handshakes:
    """WebSocket connections of one address, which may hold `slots` places for handshakes."""

    def __init__(self, slots: int) -> None:
        self.guard = HeldGuard(RateLimiter(None, 1, slots))
        none: Any = None
        guard: Any = self.guard
        services = Services(guard, self.guard.rate_limiter, none, none, Shutdown(60), Operations())
        self._endpoint = WebSocketEndpoint(
            services, Origins(None, frozenset()), ConnectionLimits(60, 60, 1)
        )

    async def connect(self) -> "Handshake":
        app = SimpleNamespace(state=SimpleNamespace(authenticator=KnownCredentials()))
        scope = {"type": "websocket", "headers": [], "client": ("192.0.2.1", 1), "app": app}
        incoming, outgoing = asyncio.Queue[Any](), asyncio.Queue[Any]()
        incoming.put_nowait({"type": "websocket.connect"})
        serving = self._endpoint(scope | {"subprotocols": [PROTOCOL]}, incoming.get, outgoing.put)
        handshake = Handshake(incoming, outgoing, asyncio.create_task(serving))
        assert (await outgoing.get())["type"] == "websocket.accept"
        return handshake

    async def being_checked(self, number: int) -> list["Handshake"]:
        """Connects and waits until the check of each connection has begun."""
        checked = [await self.connect() for _ in range(number)]
        async with asyncio.timeout(60):
            for handshake in checked:
                handshake.authenticate()
                await self.guard.reached.acquire()
        return checked


@dataclass
class Handshake:
    incoming: asyncio.Queue[Any]
    outgoing: asyncio.Queue[Any]
    serving: asyncio.Task[None]

    def authenticate(self, token: str | None = None) -> None:
        payload = {"payload": {"authorization": token}} if token else {}
        init = json.dumps({"type": "connection_init"} | payload)
        self.incoming.put_nowait({"type": "websocket.receive", "text": init})

    async def close_code(self) -> int:
        async with asyncio.timeout(60):
            code: int = (await self.outgoing.get())["code"]
            await self.serving
        return code

    async def cancel(self) -> None:
        self.serving.cancel()
        await asyncio.gather(self.serving, return_exceptions=True)


async def test_silent_connections_are_evicted_while_others_are_being_checked() -> None:
    """A slow issuer does not let their number grow."""
    handshakes = Handshakes(slots=2)
    checked = await handshakes.being_checked(2)
    silent = [await handshakes.connect() for _ in range(4)]
    assert [await handshake.close_code() for handshake in silent[:2]] == [4408] * 2
    assert [handshake.outgoing.empty() for handshake in silent[2:]] == [True] * 2
    for handshake in (*checked, *silent[2:]):
        await handshake.cancel()


async def test_check_beyond_the_limit_is_rejected_and_evicts_no_check() -> None:
    handshakes = Handshakes(slots=2)
    checked = await handshakes.being_checked(2)
    third = await handshakes.connect()
    third.authenticate()
    assert await third.close_code() == 1013
    handshakes.guard.known.set()
    assert [await handshake.close_code() for handshake in checked] == [4403] * 2


async def test_completed_checks_release_their_slots() -> None:
    handshakes = Handshakes(slots=2)
    handshakes.guard.known.set()
    for handshake in await handshakes.being_checked(2):
        assert await handshake.close_code() == 4403
    with ExitStack() as room:
        for _ in range(2):
            room.enter_context(
                handshakes.guard.rate_limiter.connection_slot("192.0.2.1 not known yet")
            )


@pytest.mark.parametrize(
    ("token", "code", "checked"), [("unknown", 1013, []), ("known", 4403, ["known"])]
)
async def test_only_known_credentials_connect_while_all_slots_for_checks_are_taken(
    token: str, code: int, checked: list[str]
) -> None:
    handshakes = Handshakes(slots=1)
    handshakes.guard.known.set()
    with handshakes.guard.rate_limiter.connection_slot("192.0.2.1 not known yet"):
        handshake = await handshakes.connect()
        handshake.authenticate(token)
        assert await handshake.close_code() == code
    assert handshakes.guard.tokens == checked
