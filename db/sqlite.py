"""SQLite: how it is connected to, and what only it needs."""

import os
import sqlite3
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolResetState

from db.aiosqlite_adapter import connect
from db.outcome import Write
from db.pool import FairPool, renew
from db.reader import Reader
from db.statements.events import ADD_EVENT
from db.statements.users import ADD_USER

# The driver is in autocommit already. It would be told again in its thread, and who is cancelled
# meanwhile leaves a connection behind that nobody closes.
AUTOCOMMIT: Final[Mapping[str, Any]] = {}
# Longer than any write of ours takes: another process may hold the one write lock.
_BUSY_MS = 30_000
# To open the file takes no write lock. Who keeps others from reading does so for an instant, or is
# another program that has the file for itself.
_OPEN_MS = 5_000
_CHECKPOINT_MS = 200


class File:
    """The database's file: the one that is open, so that another in its place is noticed.

    A connection goes on with a file that was deleted or replaced, and writes into it are lost.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Open the file; only the first time, it may be made."""
        if self._opened is not None and not os.path.exists(self._path):  # noqa: PTH110 - as short as it gets
            error = sqlite3.OperationalError("the database's file is missing")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        connection: sqlite3.Connection = sqlite3.connect(*arguments, **options)
        self._opened = self._identity()
        return connection

    def is_moved(self) -> bool:
        return self._opened is not None and self._identity() != self._opened

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a quarter of the time, before each write
        except OSError:
            return None
        return found.st_dev, found.st_ino


def engine(url: URL, file: File, **options: Any) -> AsyncEngine:
    made = create_async_engine(
        url,
        connect_args={"isolation_level": None, "async_creator_fn": partial(connect, file.connect)},
        poolclass=FairPool,
        pool_reset_on_return=None,  # `_end` does it
        **options,
    )
    renew(made.sync_engine)
    event.listen(made.sync_engine, "connect", _set_up)
    event.listen(made.sync_engine, "begin", _begin)
    event.listen(made.sync_engine, "reset", _end)
    event.listen(made.sync_engine, "invalidate", _interrupt)
    return made


def fetch(driver: Any, text: str, arguments: Sequence[Any]) -> Awaitable[list[Any]]:
    found: Awaitable[list[Any]] = driver.execute_fetchall(text, arguments)
    return found


async def insert_user(reader: Reader, values: Mapping[str, Any], write: Write) -> list[Any]:
    """Insert a user and their event; neither, and return no row, if a unique value is taken.

    All of it is one call of the connection's thread: a statement for itself costs several times as
    much to hand over as to run.
    """
    user, event = ADD_USER.on(reader.dialect), ADD_EVENT.on(reader.dialect)
    arguments = user.arguments(values)

    def insert(connection: sqlite3.Connection) -> list[Any]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = connection.execute(user.text, arguments).fetchall()
            for row in rows:
                connection.execute(event.text, event.arguments({**values, "user_id": row[0]}))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return rows

    async def ask(driver: Any) -> list[Any]:
        with write.committing():
            rows: list[Any] = await driver.run(insert)
        return rows

    return await reader.run(user.text, ask)


async def checkpoint(engine: AsyncEngine) -> bool:
    """Empty the log, with little patience: all writers wait for as long as somebody reads."""
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
        try:
            done = await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return not done.one()[0]
        finally:
            if not connection.invalidated:  # else it is closed: the task was cancelled
                await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MS}")


async def check_writable(driver: Any) -> None:
    """Raise sqlite3.Error where the file takes no writes; somebody else may be writing."""
    await driver.run(_check_writable)


def _check_writable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")  # which a read-only file takes for a plain BEGIN
        try:
            connection.execute("PRAGMA user_version = 0")
        finally:
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # a writer keeps nobody from it
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")


def _set_up(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_OPEN_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # with WAL a power cut can undo the last commits, never corrupt
        "foreign_keys = ON",
        "secure_delete = ON",  # what is erased is overwritten, and does not linger in free pages
        f"busy_timeout = {_BUSY_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _end(connection: Any, _: object, state: PoolResetState) -> None:
    """Roll back what was left open; where nothing was, its thread need not be asked."""
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()


def _interrupt(connection: Any, *_: object) -> None:
    """End the statement of a connection that was given up, by a time-out for instance.

    Its thread would go on with it, and whoever closes the connection would wait for that.
    """
    connection.driver_connection.give_up()


def _begin(connection: Connection) -> None:
    """Take SQLite's write lock at once: a read that turns into a write can be refused at any time.

    The driver runs in autocommit, so a session that only reads opens no transaction.
    """
    if connection.get_execution_options().get("roster_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
