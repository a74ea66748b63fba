"""Token expiry when the wall clock jumps by an hour."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from db.models import ActorKind
from graph.auth.guard import Guard
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import RequestError
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor

HOUR = timedelta(hours=1)


class WallClock:
    """The real time plus an offset."""

    def __init__(self) -> None:
        self.off = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.off


async def end_of(
    token_lives: timedelta,
    watch: float,
    change: Callable[[WallClock], None],
    longest_sleep: float = 30.0,
) -> tuple[RequestError, int]:
    """Returns the error that ends a stream, and how often its token was checked."""
    clock, checked = WallClock(), 0

    class Authenticator:
        async def authenticate(self, _: str | None) -> Caller:
            nonlocal checked
            checked += 1
            return caller

    caller = Caller(Actor(ActorKind.SERVICE, id="sync"), EVERY_SCOPE, None, clock() + token_lives)
    guard = Guard(
        RateLimiter(None, 1, 1),
        allow_anonymous=False,
        recheck_seconds=watch,
        now=clock,
        longest_sleep=longest_sleep,
    )
    scope = {"app": SimpleNamespace(state=SimpleNamespace(authenticator=Authenticator()))}
    context: Any = SimpleNamespace(caller=caller, token=None)
    ending = asyncio.create_task(guard.wait_until_rejected(scope, context))
    await asyncio.sleep(0)
    assert not ending.done()
    change(clock)
    async with asyncio.timeout(60):
        return await ending, checked


@pytest.mark.parametrize("watch", [0.05, 3600])
async def test_token_expires_on_time_when_the_clock_is_set_back(watch: float) -> None:
    def back(clock: WallClock) -> None:
        clock.off = -HOUR

    rejection, _ = await end_of(timedelta(seconds=0.5), watch, back)
    assert rejection.message == "This token has expired."


async def test_token_expires_when_the_clock_is_set_past_its_expiry() -> None:
    def forward(clock: WallClock) -> None:
        clock.off = HOUR

    rejection, checked = await end_of(HOUR / 2, 3600, forward, longest_sleep=0.01)
    assert rejection.message == "This token has expired."
    assert checked == 0
