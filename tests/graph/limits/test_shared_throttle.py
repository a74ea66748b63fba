"""The limiter with a storage: which count decides, and what is left if the storage fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from graph.limits.shared import SharedLimits, Timing
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import RequestError
from tests.support.clock import Clock
from tests.support.rate_storage import FakeWindows, plain_digest

NETWORK = "192.0.2.1"


@pytest.fixture
def windows() -> FakeWindows:
    return FakeWindows()


@pytest.fixture
def clock() -> Clock:
    return Clock(20.0)


@pytest.fixture
async def limiters(windows: FakeWindows, clock: Clock) -> AsyncIterator[list[RateLimiter]]:
    """Those of two processes."""
    limiters = []
    for _ in range(2):
        shared = SharedLimits(windows, Timing(answer=60, retry=3600))
        await shared.start(plain_digest)
        limiters.append(RateLimiter("4/minute", 1, 1, shared, clock))
    yield limiters
    for limiter in limiters:
        assert limiter.shared
        await limiter.shared.close()


async def acquire(limiter: RateLimiter, caller: str = "ada") -> str:
    try:
        return (await limiter.acquire(caller))["ratelimit"]
    except RequestError as refused:
        return f"{refused.status} {refused.headers['ratelimit']}"


async def test_storage_decides_while_it_is_available(limiters: list[RateLimiter]) -> None:
    one, two = limiters
    found = [await acquire(each) for each in (one, two, one, two, one, two)]
    assert (
        found == [f'"caller";r={left};t=1' for left in (3, 2, 1, 0)] + ['429 "caller";r=0;t=1'] * 2
    )
    assert await acquire(two, "bob") == '"caller";r=3;t=1'


async def test_each_process_continues_with_its_own_count_if_the_storage_fails(
    windows: FakeWindows, limiters: list[RateLimiter]
) -> None:
    one, two = limiters
    for each in (one, one, one, two):
        await acquire(each)
    windows.error = OSError()
    assert [await acquire(one) for _ in range(2)] == [
        '"caller";r=0;t=40',
        '429 "caller";r=0;t=40',
    ]
    assert [await acquire(two) for _ in range(4)] == [
        *[f'"caller";r={left};t=40' for left in (2, 1, 0)],
        '429 "caller";r=0;t=40',
    ]


async def test_request_asks_the_storage_once(
    windows: FakeWindows, limiters: list[RateLimiter]
) -> None:
    one, _ = limiters
    assert one.check_auth_attempts(NETWORK)
    await acquire(one)
    await one.record_auth_failure(NETWORK)
    assert windows.batches == [["caller: digest of ada"], [f"invalid token: digest of {NETWORK}"]]


async def test_network_is_above_the_limit_until_the_storage_has_room(
    limiters: list[RateLimiter], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = limiters
    for _ in range(4):
        await one.record_auth_failure(NETWORK)
    assert two.check_auth_attempts(NETWORK)
    assert two.shared
    monkeypatch.setattr(two.shared, "hit", later(two.shared.hit, reset=25))
    await two.record_auth_failure(NETWORK)
    assert not two.check_auth_attempts(NETWORK)
    assert two.check_auth_attempts("192.0.2.2")
    clock.time = 44.9
    assert not two.check_auth_attempts(NETWORK)
    clock.time = 45
    assert two.check_auth_attempts(NETWORK)


def later(hit: Callable[..., Coroutine[Any, Any, Any]], reset: float) -> Callable[..., Any]:
    async def answered(*asked: Any) -> Any:
        return (await hit(*asked))._replace(reset=reset)

    return answered


async def test_failures_are_counted_by_each_process_if_the_storage_fails(
    windows: FakeWindows, limiters: list[RateLimiter]
) -> None:
    one, two = limiters
    await one.record_auth_failure(NETWORK)
    windows.error = OSError()
    for _ in range(3):
        assert one.check_auth_attempts(NETWORK)
        await one.record_auth_failure(NETWORK)
    assert not one.check_auth_attempts(NETWORK)
    assert two.check_auth_attempts(NETWORK)


async def test_networks_below_the_limit_again_are_forgotten(
    limiters: list[RateLimiter], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = limiters
    monkeypatch.setattr("graph.limits.throttle._MANY_NETWORKS", 3)
    assert one.shared
    monkeypatch.setattr(one.shared, "hit", later(one.shared.hit, reset=10))
    for n in range(3):
        await asyncio.gather(*(one.record_auth_failure(f"192.0.2.{n}") for _ in range(4)))
    clock.time = 30
    await asyncio.gather(*(one.record_auth_failure("192.0.2.9") for _ in range(4)))
    assert list(one._exhausted) == ["192.0.2.9"]  # noqa: SLF001 - its size is the subject
