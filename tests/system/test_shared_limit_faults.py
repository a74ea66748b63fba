"""Faults of a real Redis: requests are counted by their process until it is usable again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from limits import parse
from limits.aio.storage.redis import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from structlog.testing import capture_logs

from graph.limits.limits_adapter import PREFIX
from graph.limits.shared import SharedLimits, Timing
from graph.limits.storage import open_shared_limits
from tests.support.loop_time import pass_time
from tests.support.rate_storage import plain_digest
from tests.support.redis import RedisServer, redis_server

RATE = parse("1000/hour")
ANSWER = 10  # seconds
Fault = tuple[Callable[[RedisServer], Awaitable[None]], Callable[[RedisServer], Awaitable[None]]]


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


async def left(shared: SharedLimits, key: str = "ada") -> int | None:
    quota = await shared.hit(RATE, "caller", key)
    return quota and quota.left


async def left_without_an_answer(shared: SharedLimits) -> int | None:
    """Lets the time pass in which the storage could answer."""
    hit = asyncio.create_task(left(shared))
    while not hit.done():
        pass_time(ANSWER)
        await asyncio.sleep(0)
    return hit.result()


async def until_shared(shared: SharedLimits) -> None:
    async with asyncio.timeout(60):
        while not shared.is_available:  # noqa: ASYNC110 - metrics poll it, too
            await asyncio.sleep(0.01)


def commands(*lines: str) -> Callable[[RedisServer], Awaitable[None]]:
    async def send(redis: RedisServer) -> None:
        for line in lines:
            await redis.command(*(word.replace('""', "") for word in line.split()))

    return send


async def freeze(redis: RedisServer) -> None:
    redis.freeze()


async def resume(redis: RedisServer) -> None:
    redis.resume()


FAULTS: dict[str, tuple[str | tuple[str, ...], Fault]] = {
    "stopped": ("ConnectionError", (RedisServer.stop, RedisServer.start)),
    "frozen": ("TimeoutError", (freeze, resume)),
    "full": (
        "OutOfMemoryError",
        (commands("CONFIG SET maxmemory 1"), commands("CONFIG SET maxmemory 0")),
    ),
    "read-only": (
        "ReadOnlyError",
        (commands("REPLICAOF 127.0.0.1 1"), commands("REPLICAOF NO ONE")),
    ),
    "not permitted": (
        "NoPermissionError",
        (commands("ACL SETUSER default -evalsha"), commands("ACL SETUSER default +evalsha")),
    ),
    "new password": (
        ("AuthenticationError", "ConnectionError"),  # Valkey closes the connection
        (
            commands("CONFIG SET requirepass x", "CLIENT KILL TYPE normal"),
            commands('CONFIG SET requirepass ""'),
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_is_answered_by_the_process_until_it_is_over(
    redis: RedisServer, fault: str
) -> None:
    cause, (begin, end) = FAULTS[fault]
    hit = left_without_an_answer if fault == "frozen" else left
    shared = open_shared_limits(redis.url, Timing(answer=ANSWER, connect=ANSWER, retry=0.01))
    with capture_logs() as logs:
        await shared.start(plain_digest)
        assert [await left(shared) for _ in range(2)] == [999, 998]
        await begin(redis)
        assert [await hit(shared), await left(shared), await left(shared)] == [None] * 3
        assert not shared.is_available
        await end(redis)
        await until_shared(shared)
        # What a frozen server had received is counted when it goes on.
        assert await left(shared) in ({999} if fault == "stopped" else {996, 997})
        await shared.close()
    assert [line["event"] for line in logs] == [
        "rate limits are shared",
        "rate limits are counted by each process",
        "rate limits are shared",
    ]
    assert logs[1]["cause"].startswith(cause)


async def test_storage_that_is_emptied_or_closes_connections_stays_in_use(
    redis: RedisServer,
) -> None:
    shared = open_shared_limits(redis.url, Timing(answer=10))
    await shared.start(plain_digest)
    assert [await left(shared) for _ in range(2)] == [999, 998]
    await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await left(shared) == 997
    await redis.client.flushall()
    await redis.client.script_flush()
    assert [await left(shared) for _ in range(2)] == [999, 998]
    assert shared.failures == 0
    await shared.close()


async def test_windows_keep_their_length_if_the_clock_of_the_storage_is_set_back(
    redis: RedisServer,
) -> None:
    shared = open_shared_limits(redis.url, Timing(answer=10))
    await shared.start(plain_digest)
    few, hour = parse("5/hour"), 3600
    ada, bob = (f"{PREFIX}:{{{few.key_for('caller', f'digest of {k}')}}}" for k in ("ada", "bob"))
    before = f"{bob}/-1"
    await redis.client.set(ada, 5, ex=12 * hour)
    await redis.client.set(before, 5, ex=11 * hour)
    resets = [
        quota.reset for key in ("ada", "bob") if (quota := await shared.hit(few, "caller", key))
    ]
    expiries = [await redis.client.ttl(key) for key in (ada, before)]
    assert [0 <= reset <= hour for reset in resets] == [True, True]
    assert (expiries[0] <= 2 * hour, expiries[1] <= hour) == (True, True)
    await shared.close()


async def test_counts_are_those_of_the_library(redis: RedisServer) -> None:
    shared = open_shared_limits(redis.url, Timing(answer=10))
    await shared.start(plain_digest)
    storage = RedisStorage(
        f"async+{redis.url}", implementation="redispy", key_prefix=PREFIX, wrap_exceptions=False
    )
    strategy = SlidingWindowCounterRateLimiter(storage)
    short, key = parse("5/hour"), "digest of ada"
    for _ in range(4):
        quota = await shared.hit(short, "caller", "ada")
        assert quota
        assert quota.left == (await strategy.get_window_stats(short, "caller", key)).remaining
    assert await strategy.hit(short, "caller", key)
    refused = await shared.hit(short, "caller", "ada")
    assert refused
    assert (refused.admitted, refused.left, 3500 < refused.reset <= 3600) == (False, 0, True)
    await shared.close()
    await storage.bridge.get_connection().aclose()  # type: ignore[attr-defined] # of its subclass
