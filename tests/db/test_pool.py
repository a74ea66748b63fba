"""Whoever waits the longest for a connection is given the next, and none that is dead."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db import pool
from db.engine import Database
from db.errors import is_unreachable
from tests.conftest import administer, opened, use


def checked_out(database: Database) -> int:
    return int(database.engine.sync_engine.pool.checkedout())  # type: ignore[attr-defined]


@asynccontextmanager
async def borrowed(database: Database) -> AsyncIterator[Any]:
    """As statements that the driver runs take a connection."""
    taken: Any = database.engine.sync_engine.pool
    lent = await taken.acquire()
    try:
        yield lent
    finally:
        taken.release(lent)


def connection(database: Database) -> AbstractAsyncContextManager[Any]:
    return database.engine.connect()


on_postgres = pytest.mark.parametrize("dialect", ["postgresql"])  # a file is never lost
ways = pytest.mark.parametrize("way", [connection, borrowed])
Way = Callable[[Database], AbstractAsyncContextManager[Any]]


@ways
async def test_connections_are_given_in_the_order_they_were_asked_for(
    database_url: str, way: Way
) -> None:
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


@on_postgres  # whoever cancels what SQLite's thread does is in test_cancelling
@ways
@pytest.mark.parametrize("turns", range(4))
async def test_who_stops_waiting_leaves_the_place_to_the_next(
    database_url: str, turns: int, way: Way
) -> None:
    """Also where they have just been given one."""

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
async def test_who_waits_in_vain_is_told_so(database_url: str, way: Way) -> None:
    async with opened(database_url, pool_size=1, pool_timeout=0.01) as database:
        async with database.engine.connect():
            with pytest.raises(PoolTimeoutError):
                await way(database).__aenter__()
        await use(database)
        assert checked_out(database) == 0


@on_postgres
@pytest.mark.parametrize("known", [True, False])
async def test_a_connection_that_is_lost_is_made_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Where the driver knows that it is, and where only trying tells."""
    connected: list[Any] = []
    monkeypatch.setattr(pool, "_LATELY_SECONDS", 3600.0 if known else 0.0)
    async with opened(database_url, pool_size=1) as database:
        event.listen(database.engine.sync_engine, "connect", lambda c, _: connected.append(c))
        await use(database)
        connected[0].driver_connection.terminate()
        if not known:
            monkeypatch.setattr(asyncpg.Connection, "is_closed", lambda _: False)
        await use(database)
        await use(database)
    assert len(connected) == 2


@on_postgres
@pytest.mark.parametrize(("lately", "tried"), [(3600.0, []), (0.0, ["SELECT 1", "SELECT 1"])])
async def test_only_what_has_rested_is_tried(
    database_url: str, monkeypatch: pytest.MonkeyPatch, lately: float, tried: list[str]
) -> None:
    ran: list[str] = []
    execute = asyncpg.Connection.execute

    async def note(driver: Any, query: str, *args: Any, **options: Any) -> Any:
        ran.append(query)
        return await execute(driver, query, *args, **options)

    monkeypatch.setattr(pool, "_LATELY_SECONDS", lately)
    async with opened(database_url, pool_size=1) as database:
        await use(database)
        monkeypatch.setattr(asyncpg.Connection, "execute", note)
        await use(database)
        await use(database)
        monkeypatch.undo()
    assert [query for query in ran if query == "SELECT 1"] == tried


async def test_what_was_borrowed_is_kept_for_the_next_who_borrows(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is checked in where a session wants it, or when it has rested."""
    monkeypatch.setattr(pool, "_LATELY_SECONDS", 3600.0)
    told: list[str] = []
    async with opened(database_url, pool_size=1) as database:
        await use(database)
        for name in ("checkin", "checkout"):
            event.listen(database.engine.sync_engine, name, lambda *_, name=name: told.append(name))
        async with borrowed(database) as first:
            pass
        async with borrowed(database) as second:
            assert second is first
            assert checked_out(database) == 1
        assert checked_out(database) == 0
        assert told == ["checkout"]
        async with database.engine.connect():
            assert told == ["checkout", "checkin", "checkout"]
        async with borrowed(database) as third:
            assert third is not first
        told.clear()
        monkeypatch.setattr(pool, "_LATELY_SECONDS", 0.0)
        async with borrowed(database):
            assert told == ["checkin", "checkout"]


async def test_who_waits_to_borrow_is_lent_it_as_it_is(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        order: list[Any] = []

        async def borrow() -> None:
            async with borrowed(database) as lent:
                order.append(lent)

        async def connect() -> None:
            async with database.engine.connect():
                order.append(None)

        async with borrowed(database) as lent:
            waiting = [asyncio.create_task(way()) for way in (borrow, connect, borrow)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert [order[0] is lent, order[1], order[2] is None] == [True, None, False]
        assert checked_out(database) == 0


async def test_nothing_is_kept_for_a_pool_that_is_gone(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        gone: Any = database.engine.sync_engine.pool
        lent = await gone.acquire()
        driver = lent.driver_connection
        await database.engine.dispose()
        gone.release(lent)
        assert gone.is_closed(driver) or database.is_sqlite
        assert not lent.is_valid
        await use(database)


def pids(database: Database) -> set[int]:
    """Name the server processes of the connections that rest in the pool."""
    taken: Any = database.engine.sync_engine.pool
    taken.check_in()
    resting = [entry.driver_connection for entry in taken._pool._items]  # noqa: SLF001 - there is no other way to see them
    return {driver.get_server_pid() for driver in resting if driver is not None}


class Clock:
    """The monotonic clock, as far as a pool sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pool, "time", self)

    def monotonic(self) -> float:
        return self.now


@on_postgres
@ways
@pytest.mark.parametrize("old", [True, False])
async def test_a_connection_is_replaced_when_it_is_too_old(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """By the monotonic clock: the other one can be moved."""
    monkeypatch.setattr(pool, "_LATELY_SECONDS", 3600.0)
    clock = Clock(monkeypatch)
    async with opened(database_url, pool_size=1, pool_max_age=60) as database:
        async with way(database):
            pass
        before = pids(database)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        clock.now += 61 if old else 59
        async with way(database):
            pass
        assert (pids(database) != before) is old


@on_postgres
async def test_a_connection_that_is_lent_on_is_replaced_when_it_is_too_old(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load it is never given back: it goes from one borrower to the next."""
    clock = Clock(monkeypatch)
    async with opened(database_url, pool_size=1, pool_max_age=60) as database:
        used: list[int] = []

        async def borrow(number: int) -> None:
            async with borrowed(database) as lent:
                used.append(lent.driver_connection.get_server_pid())
                await asyncio.sleep(0)
                if number == 2:
                    clock.now += 61

        await asyncio.gather(*(borrow(number) for number in range(5)))
        assert used[0] == used[1] == used[2]
        assert used[3] == used[4] != used[2]
        assert checked_out(database) == 0


@on_postgres
@ways
@pytest.mark.parametrize("moved", [0.0, -3600.0])
async def test_what_is_discarded_is_replaced_wherever_it_was(
    database_url: str, way: Way, moved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that rest, that are kept and that are in use; also when the clock goes back."""
    async with opened(database_url, pool_size=3) as database:
        taken: Any = database.engine.sync_engine.pool
        async with connection(database), borrowed(database), connection(database) as held:
            driver = (await held.get_raw_connection()).driver_connection
        before = pids(database)
        assert len(before) == 3
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + moved)
        async with borrowed(database) as lent:
            taken.discard()
            assert not lent.driver_connection.is_closed()
            assert await lent.driver_connection.fetchval("SELECT 1") == 1
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
async def test_who_waits_for_a_connection_that_cannot_be_made_tries_too(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all but the first wait for a connection to be given back, until their time is over."""
    refused = 0
    connect = asyncpg.connect

    async def refuse(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        await asyncio.sleep(0)
        if refused < 3:
            refused += 1
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
        got = await asyncio.wait_for(asyncio.gather(*(use(database) for _ in range(7))), 60)
        assert sorted(got) == [False] * 3 + [True] * 4
        assert checked_out(database) == 0


@on_postgres
async def test_a_connection_that_is_cut_while_it_is_prepared_is_told_as_such(
    database_url: str,
) -> None:
    """The first of an engine is in a wrapper of SQLAlchemy's then, which has less."""
    name = make_url(database_url).database
    await asyncio.to_thread(administer, f"ALTER DATABASE {name} SET transaction_timeout = '1ms'")
    errors: list[Exception] = []
    for _ in range(10):
        async with opened(database_url, pool_size=1) as database:
            try:
                await database.ping()
            except Exception as error:  # noqa: BLE001 - which one, chance decides
                errors.append(error)
    assert [error for error in errors if not is_unreachable(error)] == []
