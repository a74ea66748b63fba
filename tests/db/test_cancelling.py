"""An operation that is cancelled during a statement releases its connection."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite
import asyncpg
import pytest
from sqlalchemy import event, literal, select, text

from db.engine import Database
from db.prepared import PreparedStatement
from tests.conftest import opened, select_one

ENDLESS = {
    "sqlite": "WITH RECURSIVE c(n) AS (SELECT tell() UNION ALL SELECT n + 1 FROM c) "
    "SELECT max(n) FROM c",
    "postgresql": "SELECT pg_sleep(600)",
}


def start_of_endless_statement(database: Database) -> asyncio.Event:
    """Returns an event that is set when the endless statement has started."""
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def notify_loop() -> int:
        loop.call_soon_threadsafe(started.set)
        return 1

    @event.listens_for(database.engine.sync_engine, "connect")
    def add_function(connection: Any, _: object) -> None:
        if database.is_sqlite:
            connection.create_function("tell", 0, notify_loop)

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def set_started(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if not database.is_sqlite and statement == ENDLESS["postgresql"]:
            started.set()

    return started


@pytest.mark.parametrize("turns", range(8))
async def test_statement_cancelled_twice_leaves_no_task(
    database: Database, dialect: str, turns: int
) -> None:
    """A server cancels twice if the client disconnects after a timeout."""
    loop_errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: loop_errors.append(context))
    started = start_of_endless_statement(database)

    async def read() -> None:
        async with database.session() as session:
            await session.execute(text(ENDLESS[dialect]))

    async with asyncio.timeout(60):
        await select_one(database)
        reading = asyncio.create_task(read())
        await started.wait()
        for _ in range(3):
            await asyncio.sleep(0)  # lets the statement start
        reading.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while others := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
            await asyncio.wait(others, timeout=0.1)
            del others
            gc.collect()  # finds tasks that nothing can wake up
        await select_one(database)
    assert loop_errors == []
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def read(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT 1"))


async def write(database: Database) -> None:
    async with database.session() as session, session.transaction():
        await session.execute(text("DELETE FROM idempotency_keys"))


async def rows(database: Database) -> None:
    async with database.session() as session:
        await session.fetch(ONE)


async def checkpoint(database: Database) -> None:
    async with database.session() as session:
        await session.checkpoint()


async def listen(database: Database) -> None:
    async with database.listening(lambda _: None):
        await asyncio.sleep(0)


ONE = PreparedStatement(select(literal(1).label("one")))
OPERATIONS: dict[str, Callable[[Database], Awaitable[Any]]] = {
    "read": read,
    "write": write,
    "listen": listen,
    "rows": rows,
    "notify": lambda database: database.notify(),
    "checkpoint": checkpoint,
}


@pytest.mark.parametrize("way", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("warm", [True, False])
async def test_cancelled_operation_leaves_no_connection_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch, way: Any, *, warm: bool
) -> None:
    """Cancelled after each number of loop iterations, including while it connects."""
    connections: list[Any] = []
    for driver in (aiosqlite.Connection, asyncpg.Connection):
        record_connections(monkeypatch, driver, connections)
    for turns in range(30):
        async with opened(database_url) as database:
            if warm:
                await select_one(database)
            task = asyncio.ensure_future(way(database))
            for turn in range(turns):
                # Every third iteration waits in the selector, so that threads and sockets progress.
                await asyncio.sleep(0.0001 if turn % 3 == 2 else 0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        assert [driver for driver in connections if is_open(driver)] == []


def record_connections(
    monkeypatch: pytest.MonkeyPatch, driver: type[Any], connections: list[Any]
) -> None:
    initialise = driver.__init__

    def recording_init(self: Any, *arguments: Any, **options: Any) -> None:
        connections.append(self)
        initialise(self, *arguments, **options)

    monkeypatch.setattr(driver, "__init__", recording_init)


def is_open(driver: Any) -> bool:
    if isinstance(driver, aiosqlite.Connection):
        return driver._connection is not None and driver._running  # noqa: SLF001 - there is no public attribute
    return not driver.is_closed()
