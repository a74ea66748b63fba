"""The connections to SQLite: aiosqlite's internals that they use, and the end of their threads."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from db.aiosqlite_adapter import Connection, Opener
from db.engine import Database
from tests.conftest import opened, select_one


async def test_connection_has_the_internals_that_the_adapter_uses(tmp_path: Path) -> None:
    opener = Opener(sqlite3.connect)
    connection = opener.connect(str(tmp_path / "a.db"))
    assert isinstance(connection._thread, threading.Thread)  # noqa: SLF001 - what is tested
    assert connection._thread.daemon  # noqa: SLF001
    await connection
    assert isinstance(connection._connection, sqlite3.Connection)  # noqa: SLF001
    assert await connection.run(lambda file: file.execute("SELECT 7").fetchone()) == (7,)
    connection.give_up()
    stopping = connection.stop()
    assert stopping is connection.stop()  # a connection stops only once
    await opener.wait_closed()
    assert stopping is None or stopping.done()


class SlowFile:
    """Makes opening a file wait until it is allowed, and then fail if an error is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.is_opening, self.may_open = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        self.connections: list[sqlite3.Connection] = []
        connect = sqlite3.connect

        def open_file(*arguments: Any, **options: Any) -> sqlite3.Connection:
            self.threads.append(threading.current_thread())
            self.is_opening.set()
            assert self.may_open.wait(60)
            if error:
                raise error
            options["check_same_thread"] = False
            self.connections.append(connect(*arguments, **options))
            return self.connections[-1]

        monkeypatch.setattr(sqlite3, "connect", open_file)


async def close_after_a_cancellation(url: str, file: SlowFile) -> None:
    async with asyncio.timeout(60):
        database = Database(url)
        selecting = asyncio.create_task(select_one(database))
        await asyncio.to_thread(file.is_opening.wait, 60)
        selecting.cancel()
        await asyncio.wait([selecting])
        closing = asyncio.create_task(database.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done()
        file.may_open.set()
        await closing


@pytest.mark.parametrize("error", [None, sqlite3.OperationalError("disk I/O error")])
def test_closing_a_database_waits_for_the_thread_of_a_cancelled_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """After the event loop is closed, the thread would fail to deliver its result."""
    file = SlowFile(monkeypatch, error)
    asyncio.run(close_after_a_cancellation(f"sqlite:///{tmp_path}/a.db", file))
    for thread in file.threads:
        thread.join(60)  # pytest reports an exception in it
    assert len(file.connections) == (0 if error else 1)
    for connection in file.connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")


def test_closing_a_database_waits_for_the_thread_that_cannot_open_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: list[asyncio.Future[Any]] = []
    stop = Connection.stop

    def record(connection: Connection) -> asyncio.Future[Any] | None:
        if future := stop(connection):
            stopping.append(future)
        return future

    async def use_and_close() -> None:
        async with opened(f"sqlite:///{tmp_path}/missing/a.db") as database:
            await select_one(database)

    monkeypatch.setattr(Connection, "stop", record)
    with pytest.raises(Exception, match="unable to open database file"):
        asyncio.run(use_and_close())
    assert [future.done() for future in stopping] == [True]
