"""The connection pool serves waiters in FIFO order and never hands out a dead connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.errors import is_unreachable
from db.timing import Timing
from tests.conftest import administer, opened, select_one
from tests.support.clock import Clock


def checked_out(database: Database) -> int:
    return int(database.engine.sync_engine.pool.checkedout())  # type: ignore[attr-defined]


@asynccontextmanager
async def borrowed(database: Database) -> AsyncIterator[Any]:
    """Takes a connection the way driver-level statements do."""
    fair_pool: Any = database.engine.sync_engine.pool
    record = await fair_pool.acquire()
    try:
        yield record
    finally:
        fair_pool.release(record)


def connection(database: Database) -> AbstractAsyncContextManager[Any]:
    return database.engine.connect()


on_postgres = pytest.mark.parametrize("dialect", ["postgresql"])  # a file is never lost
ways = pytest.mark.parametrize("way", [connection, borrowed])
Way = Callable[[Database], AbstractAsyncContextManager[Any]]


@ways
async def test_waiters_receive_connections_in_fifo_order(database_url: str, way: Way) -> None:
    order: list[int] = []

    async def use(number: int) -> None:
        for _ in range(5):
            async with way(database):
                order.append(number)
                await asyncio.sleep(0)

    async with opened(database_url, pool_size=1) as database:
        await asyncio.gather(*(use(number) for number in range(4)))
        assert order == [0, 1, 2, 3] * 5
        assert checked_out(database) == 0


@on_postgres  # test_cancelling covers SQLite
@ways
@pytest.mark.parametrize("turns", range(4))
async def test_cancelled_waiter_leaves_its_connection_to_the_next(
    database_url: str, turns: int, way: Way
) -> None:
    """Also if the waiter has just received a connection."""

    async def use() -> int:
        async with way(database):
            await asyncio.sleep(0)
        return 1

    async with opened(database_url, pool_size=1) as database:
        async with way(database):
            first, second = asyncio.create_task(use()), asyncio.create_task(use())
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        assert await second == 1
        await asyncio.wait([first])
        assert await use() == 1
        assert checked_out(database) == 0


@ways
async def test_waiter_gets_a_timeout_error_if_the_pool_stays_exhausted(
    database_url: str, way: Way
) -> None:
    async with opened(database_url, pool_size=1, pool_timeout=0.01) as database:
        async with database.engine.connect():
            with pytest.raises(PoolTimeoutError):
                await way(database).__aenter__()
        await select_one(database)
        assert checked_out(database) == 0


@on_postgres
@pytest.mark.parametrize("known", [True, False])
async def test_lost_connection_is_replaced(
    database_url: str, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Both if the driver knows that it is lost, and if only a ping detects it."""
    connected: list[Any] = []
    timing = Timing(trust_used=3600.0 if known else 0.0)
    async with opened(database_url, pool_size=1, timing=timing) as database:
        event.listen(database.engine.sync_engine, "connect", lambda c, _: connected.append(c))
        await select_one(database)
        driver = connected[0].driver_connection
        driver.terminate()
        if not known:
            before_the_ping = iter([False])
            monkeypatch.setattr(driver, "is_closed", lambda: next(before_the_ping, True))
        await select_one(database)
        await select_one(database)
    assert len(connected) == 2


@on_postgres
@pytest.mark.parametrize(("trusted", "tried"), [(3600.0, []), (0.0, ["SELECT 1", "SELECT 1"])])
async def test_only_connections_idle_for_a_while_are_pinged(
    database_url: str, monkeypatch: pytest.MonkeyPatch, trusted: float, tried: list[str]
) -> None:
    queries: list[str] = []
    execute = asyncpg.Connection.execute

    async def record_query(driver: Any, query: str, *args: Any, **options: Any) -> Any:
        queries.append(query)
        return await execute(driver, query, *args, **options)

    async with opened(database_url, pool_size=1, timing=Timing(trust_used=trusted)) as database:
        await select_one(database)
        monkeypatch.setattr(asyncpg.Connection, "execute", record_query)
        await select_one(database)
        await select_one(database)
        monkeypatch.undo()
    assert [query for query in queries if query == "SELECT 1"] == tried


async def test_released_connection_is_kept_for_the_next_acquire(database_url: str) -> None:
    """It is checked in when a session needs it, or after it was idle for a while."""
    clock = Clock()
    timing = Timing(trust_used=60, clock=clock)
    pool_events: list[str] = []
    async with opened(database_url, pool_size=1, timing=timing) as database:
        await select_one(database)
        for name in ("checkin", "checkout"):
            event.listen(
                database.engine.sync_engine, name, lambda *_, name=name: pool_events.append(name)
            )
        async with borrowed(database) as first:
            pass
        async with borrowed(database) as second:
            assert second is first
            assert checked_out(database) == 1
        assert checked_out(database) == 0
        assert pool_events == ["checkout"]
        async with database.engine.connect():
            assert pool_events == ["checkout", "checkin", "checkout"]
        async with borrowed(database) as third:
            assert third is not first
        pool_events.clear()
        clock.time += 61
        async with borrowed(database):
            assert pool_events == ["checkin", "checkout"]


async def test_waiting_acquire_receives_the_released_connection_directly(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        order: list[Any] = []

        async def borrow() -> None:
            async with borrowed(database) as record:
                order.append(record)

        async def connect() -> None:
            async with database.engine.connect():
                order.append(None)

        async with borrowed(database) as record:
            waiting = [asyncio.create_task(way()) for way in (borrow, connect, borrow)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert [order[0] is record, order[1], order[2] is None] == [True, None, False]
        assert checked_out(database) == 0


async def test_release_to_a_disposed_pool_closes_the_connection(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        gone: Any = database.engine.sync_engine.pool
        record = await gone.acquire()
        driver = record.driver_connection
        await database.engine.dispose()
        gone.release(record)
        assert gone.is_closed(driver) or database.is_sqlite
        assert not record.is_valid
        await select_one(database)


def pids(database: Database) -> set[int]:
    """Returns the server processes of the idle connections."""
    fair_pool: Any = database.engine.sync_engine.pool
    fair_pool.check_in()
    idle = [entry.driver_connection for entry in fair_pool._pool._items]  # noqa: SLF001 - there is no other way to see them
    return {driver.get_server_pid() for driver in idle if driver is not None}


@on_postgres
@ways
@pytest.mark.parametrize("old", [True, False])
async def test_connection_older_than_max_age_is_replaced(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """Measured with the monotonic clock, because the system clock can be changed."""
    clock = Clock()
    timing = Timing(trust_used=3600.0, clock=clock)
    async with opened(database_url, pool_size=1, pool_max_age=60, timing=timing) as database:
        async with way(database):
            pass
        before = pids(database)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        clock.time += 61 if old else 59
        async with way(database):
            pass
        assert (pids(database) != before) is old


@on_postgres
async def test_connection_passed_between_waiters_is_replaced_at_max_age(
    database_url: str,
) -> None:
    """Under load a connection goes from waiter to waiter without a return to the pool."""
    clock = Clock()
    timing = Timing(clock=clock)
    async with opened(database_url, pool_size=1, pool_max_age=60, timing=timing) as database:
        used: list[int] = []

        async def borrow(number: int) -> None:
            async with borrowed(database) as record:
                used.append(record.driver_connection.get_server_pid())
                await asyncio.sleep(0)
                if number == 2:
                    clock.time += 61

        await asyncio.gather(*(borrow(number) for number in range(5)))
        assert used[0] == used[1] == used[2]
        assert used[3] == used[4] != used[2]
        assert checked_out(database) == 0


@on_postgres
@ways
@pytest.mark.parametrize("moved", [0.0, -3600.0])
async def test_discard_replaces_idle_kept_and_used_connections(
    database_url: str, way: Way, moved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the system clock is set back."""
    async with opened(database_url, pool_size=3) as database:
        fair_pool: Any = database.engine.sync_engine.pool
        async with connection(database), borrowed(database), connection(database) as held:
            driver = (await held.get_raw_connection()).driver_connection
        before = pids(database)
        assert len(before) == 3
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + moved)
        async with borrowed(database) as record:
            fair_pool.discard()
            assert not record.driver_connection.is_closed()
            assert await record.driver_connection.fetchval("SELECT 1") == 1
        async with way(database), way(database), way(database):
            pass
        after = pids(database)
        assert len(after) == 3
        assert not after & before
        assert driver.is_closed()
        async with way(database):
            pass
        assert pids(database) == after


@on_postgres
@ways
async def test_waiters_retry_after_a_failed_connection_attempt(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all waiters but the first would wait until their timeout."""
    refusals = 0
    connect = asyncpg.connect

    async def refuse(*arguments: Any, **options: Any) -> Any:
        nonlocal refusals
        await asyncio.sleep(0)
        if refusals < 3:
            refusals += 1
            raise ConnectionRefusedError
        return await connect(*arguments, **options)

    async def use(database: Database) -> bool:
        try:
            async with way(database):
                return True
        except ConnectionRefusedError:
            return False

    monkeypatch.setattr(asyncpg, "connect", refuse)
    async with opened(database_url, pool_size=2, pool_timeout=600) as database:
        results = await asyncio.wait_for(asyncio.gather(*(use(database) for _ in range(7))), 60)
        assert sorted(results) == [False] * 3 + [True] * 4
        assert checked_out(database) == 0


@on_postgres
async def test_connection_cut_during_setup_is_reported_as_unreachable(
    database_url: str,
) -> None:
    """SQLAlchemy wraps the first connection of an engine; the wrapper has fewer attributes."""
    name = make_url(database_url).database
    await asyncio.to_thread(administer, f"ALTER DATABASE {name} SET transaction_timeout = '1ms'")
    errors: list[Exception] = []
    for _ in range(10):
        async with opened(database_url, pool_size=1) as database:
            try:
                await database.ping()
            except Exception as error:  # noqa: BLE001 - the type depends on timing
                errors.append(error)
    assert [error for error in errors if not is_unreachable(error)] == []
