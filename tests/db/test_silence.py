"""A network that drops packets, or a frozen server: no error arrives, yet no operation blocks.

Statements have no timeout of their own here, so a missing limit would block its test.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import literal_column, select, text

from db.connector import Connection, Connector
from db.engine import Database
from db.errors import is_unreachable
from db.prepared import PreparedStatement
from db.timing import Timing
from tests.conftest import opened, select_one
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
PING = "SELECT 1"
ONE = PreparedStatement(select(literal_column("1").label("one")))


# Short limits make the tests faster. Each use of a connection is preceded by a ping.
SHORT = Timing(
    connect=1.0,
    skip_silent_host=0.0,
    ping=0.5,
    close=0.3,
    trust_used=0.0,
    health_check=0.5,
    rollback=0.5,
)
QUICK_WATCHDOG = replace(SHORT, watchdog_tick=0.05, watchdog_lag=30.0)


@asynccontextmanager
async def behind(
    database_url: str, timing: Timing = SHORT, **options: Any
) -> AsyncIterator[tuple[Proxy, Database]]:
    async with (
        proxied(database_url) as (proxy, near),
        opened(near, timing=timing, **options) as database,
    ):
        yield proxy, database


async def read(database: Database) -> None:
    await database.reader.fetch(ONE)


async def write(database: Database) -> None:
    async with database.session() as session, session.transaction():
        await session.execute(text("SELECT 1"))


ways = pytest.mark.parametrize("way", [select_one, read, write])
Way = Callable[[Database], Awaitable[None]]


async def fails(work: Awaitable[None]) -> None:
    """Asserts that the work ends by itself with an error that counts as unreachable."""
    async with asyncio.timeout(60) as limit:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - it depends on the operation
            await work
    assert not limit.expired()
    assert is_unreachable(caught.value)


async def recovers(work: Callable[[], Awaitable[None]]) -> None:
    """Repeats the work until it succeeds: on a busy machine it can exceed the short limits."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await work()
            except Exception as error:
                if not is_unreachable(error):
                    raise


async def fill(database: Database, connections: int = 5) -> None:
    async def hold() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            arrived.release()
            await all_connected.wait()

    arrived, all_connected = asyncio.Semaphore(0), asyncio.Event()
    holding = [asyncio.create_task(hold()) for _ in range(connections)]
    for _ in holding:
        await arrived.acquire()
    all_connected.set()
    await asyncio.gather(*holding)


def note_executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records what is executed besides queries: pings and ends of transactions."""
    executed: list[str] = []
    execute = Connection.execute

    async def note(self: Any, query: str, *args: Any, **options: Any) -> Any:
        executed.append(query)
        return await execute(self, query, *args, **options)

    monkeypatch.setattr(Connection, "execute", note)
    return executed


def count_closes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Records the connections that are closed gracefully, which waits for the server."""
    closed: list[Any] = []
    close = asyncpg.Connection.close

    async def note(self: Any, **options: Any) -> None:
        if not self.is_closed():
            closed.append(self)
        await close(self, **options)

    monkeypatch.setattr(asyncpg.Connection, "close", note)
    return closed


@ways
@pytest.mark.parametrize("kind", ["silence", "pause"])
async def test_operation_fails_during_silence_and_succeeds_afterwards(
    database_url: str, way: Way, kind: str
) -> None:
    async with behind(database_url) as (proxy, database):
        await way(database)
        getattr(proxy, kind)()
        for _ in range(2):
            await fails(way(database))
        proxy.restore()
        await recovers(lambda: way(database))


async def test_one_dead_connection_discards_the_others_without_a_ping(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router forgot all connections; new ones work. Only the first one costs a timeout."""
    executed, closed = note_executed(monkeypatch), count_closes(monkeypatch)
    timing = replace(SHORT, connect=30.0, ping=2.0)
    async with behind(database_url, timing, pool_size=5) as (proxy, database):
        await fill(database)
        executed.clear()
        proxy.silence()
        proxy.restore()
        async with asyncio.timeout(60):
            await select_one(database)
            assert executed.count(PING) == 1
            await fill(database)
        assert executed.count(PING) <= 2  # including that of the new one
        assert closed == []  # gracefully, which would wait for the server
        assert proxy.accepted <= 11  # including one that cancels the first statement


async def test_waiters_fail_together_when_no_connection_can_be_made(database_url: str) -> None:
    """They do not wait for one timeout per waiter before them."""
    timing = replace(SHORT, skip_silent_host=3600.0)
    async with behind(database_url, timing, pool_size=2, pool_timeout=3600) as (proxy, database):
        proxy.silence()
        await asyncio.gather(
            *(fails(select_one(database)) for _ in range(10)), fails(read(database))
        )
        assert proxy.accepted == 2


@pytest.mark.parametrize("way", [select_one, read])
async def test_failed_connection_attempt_frees_its_slot_for_the_next_waiter(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, left = asyncpg.connect, 3

    async def refuse_some(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        await asyncio.sleep(0)
        if left >= 0:
            raise ConnectionRefusedError
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", refuse_some)
    async with opened(database_url, pool_size=1, pool_timeout=3600, timing=SHORT) as database:
        async with asyncio.timeout(60):
            calls = [way(database) for _ in range(6)]
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(error, OSError) for error in results] == [True] * 3 + [False] * 3


async def test_statement_timeout_discards_the_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ROLLBACK is sent in a transaction: the server would not answer it either."""
    executed = note_executed(monkeypatch)

    async def stop_in_the_middle() -> None:
        async with database.session() as session, session.transaction():
            await session.execute(text("SELECT 1"))
            proxy.silence()
            await session.execute(text("SELECT 2"))

    async with behind(database_url, statement_timeout=0.5) as (proxy, database):
        await write(database)
        executed.clear()
        await fails(stop_in_the_middle())
        assert "ROLLBACK;" not in executed
        proxy.restore()
        await recovers(lambda: write(database))


async def test_rollback_during_silence_ends_within_its_limit(database_url: str) -> None:
    async def give_up() -> None:
        async with database.session() as session, session.transaction():
            await session.execute(text("SELECT 1"))
            proxy.silence()
            raise ZeroDivisionError

    async with behind(database_url) as (proxy, database), asyncio.timeout(60):
        with pytest.raises((ZeroDivisionError, TimeoutError)):
            await give_up()
        proxy.restore()
        await recovers(lambda: write(database))


@pytest.mark.parametrize("way", [select_one, read, write])
async def test_cancellation_during_silence_does_not_wait(
    database_url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it waits for a ping or a new connection."""
    async with behind(database_url) as (proxy, database), asyncio.timeout(60):
        await way(database)
        closed = count_closes(monkeypatch)
        proxy.silence()
        for turns in (0, 1, 3, 10):
            leaving = asyncio.ensure_future(way(database))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
        assert closed == []
        proxy.restore()
        await recovers(lambda: way(database))


@pytest.mark.parametrize("connections", [0, 1, 5])
async def test_close_during_silence_takes_one_timeout(
    database_url: str, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(database_url) as (proxy, near):
        database = Database(near, pool_size=5, timing=SHORT)
        await database.notify()
        await fill(database, connections)
        closed = count_closes(monkeypatch)
        proxy.silence()
        async with asyncio.timeout(60):
            await database.close()
        assert len(closed) == 1 + min(connections, 1)  # that for notifications, and one of the pool


async def test_close_during_silence_ends_running_statements(database_url: str) -> None:
    async with proxied(database_url) as (proxy, near):
        database = Database(near, timing=SHORT)
        await select_one(database)
        lookup = database.reader.lookup(PreparedStatement(select(text("pg_sleep(600)"))))
        sleeping = lookup.load([1])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(sleeping)
        proxy.silence()
        async with asyncio.timeout(60):
            await database.close()
        assert sleeping.done()


async def test_health_checks_during_silence_fail_in_time_with_one_connection(
    database_url: str,
) -> None:
    async with behind(database_url) as (proxy, database):
        await database.ping()
        proxy.silence()
        accepted = proxy.accepted
        await asyncio.gather(*(fails(database.ping()) for _ in range(20)))
        assert proxy.accepted <= accepted + 1  # for any number of checks
        proxy.restore()
        await is_ready(database)


async def is_ready(database: Database) -> None:
    await recovers(database.ping)  # an earlier check may still wait


async def test_health_check_succeeds_while_the_pool_is_exhausted(database_url: str) -> None:
    async with behind(database_url, pool_size=1) as (proxy, database):
        connection = await database.engine.connect()
        await database.ping()
        proxy.silence()
        await fails(database.ping())
        proxy.restore()
        await is_ready(database)
        await connection.close()


@ways
async def test_watchdog_aborts_operations_during_silence(database_url: str, way: Way) -> None:
    """The connection is not pinged first, and the statement has no timeout."""
    async with behind(database_url, QUICK_WATCHDOG, pool_pre_ping=False) as (proxy, database):
        await way(database)
        database.watch()
        proxy.silence()
        await fails(way(database))
        proxy.restore()
        await recovers(lambda: way(database))


async def test_watchdog_keeps_slow_statements_while_the_server_responds(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = asyncio.Semaphore(0)
    knock = Connector.knock

    async def note(self: Connector, *hosts: Any, **options: Any) -> None:
        await knock(self, *hosts, **options)
        answered.release()

    async with (
        opened(database_url, timing=QUICK_WATCHDOG) as database,
        database.engine.connect() as connection,
    ):
        monkeypatch.setattr(Connector, "knock", note)
        database.watch()
        lock = text("SELECT pg_advisory_lock(hashtext(current_database()))")
        unlock = text("SELECT pg_advisory_unlock(hashtext(current_database()))")
        await connection.execute(lock)
        async with asyncio.timeout(60), database.engine.connect() as other:
            waiting = asyncio.ensure_future(other.execute(lock))
            for _ in range(4):
                await answered.acquire()
            assert not waiting.done()
            await connection.execute(unlock)
            await waiting
