"""Whoever goes away in the middle of a statement leaves nothing behind."""

import asyncio
import gc
from typing import Any

import pytest
from sqlalchemy import event, text

from db.engine import Database

ENDLESS = {
    "sqlite": "WITH RECURSIVE c(n) AS (SELECT tell() UNION ALL SELECT n + 1 FROM c) "
    "SELECT max(n) FROM c",
    "postgresql": "SELECT pg_sleep(600)",
}


@pytest.mark.parametrize("turns", range(8))
async def test_a_statement_that_is_cancelled_twice_leaves_no_task(
    database: Database, dialect: str, turns: int
) -> None:
    """As a server does: once for a time-out, and again for a client that leaves meanwhile."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
    started = asyncio.Event()

    def tell_loop() -> int:
        loop.call_soon_threadsafe(started.set)
        return 1

    @event.listens_for(database.engine.sync_engine, "connect")
    def add_function(connection: Any, _: object) -> None:
        if database.is_sqlite:
            connection.create_function("tell", 0, tell_loop)

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def tell(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if not database.is_sqlite and statement == ENDLESS[dialect]:
            started.set()

    async def read() -> None:
        async with database.session() as session:
            await database.begin_reading(session)
            await session.execute(text(ENDLESS[dialect]))

    async with asyncio.timeout(20):
        await database.ping()
        reading = asyncio.create_task(read())
        await started.wait()
        for _ in range(3):
            await asyncio.sleep(0)  # for the statement to be on its way
        reading.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while others := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
            await asyncio.wait(others, timeout=0.1)
            del others
            gc.collect()  # which finds a task that nothing can ever wake
        await database.ping()
    assert complaints == []
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
