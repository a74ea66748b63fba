"""Checks that aiosqlite has the internals that `db.aiosqlite_adapter` uses."""

import sqlite3
import threading
from pathlib import Path

from db.aiosqlite_adapter import connect


async def test_connection_has_the_internals_that_the_adapter_uses(tmp_path: Path) -> None:
    connection = connect(sqlite3.connect, str(tmp_path / "a.db"))
    assert isinstance(connection._thread, threading.Thread)  # noqa: SLF001 - what is tested
    assert connection._thread.daemon  # noqa: SLF001
    await connection
    assert isinstance(connection._connection, sqlite3.Connection)  # noqa: SLF001
    assert await connection.run(lambda file: file.execute("SELECT 7").fetchone()) == (7,)
    connection.give_up()
    stopping = connection.stop()
    assert stopping is connection.stop()  # a connection stops only once
    if stopping is not None:
        await stopping
