"""What `db.aiosqlite_adapter` relies on is in aiosqlite as it was."""

import sqlite3
import threading
from pathlib import Path

from db.aiosqlite_adapter import connect


async def test_the_internals_of_a_connection(tmp_path: Path) -> None:
    connection = connect(sqlite3.connect, str(tmp_path / "a.db"))
    assert isinstance(connection._thread, threading.Thread)  # noqa: SLF001 - what is tested
    assert connection._thread.daemon  # noqa: SLF001
    await connection
    assert isinstance(connection._connection, sqlite3.Connection)  # noqa: SLF001
    assert await connection.run(lambda file: file.execute("SELECT 7").fetchone()) == (7,)
    connection.give_up()
    stopping = connection.stop()
    assert stopping is connection.stop()  # for it is stopped once
    if stopping is not None:
        await stopping
