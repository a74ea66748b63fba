"""SQLite: connecting, transactions, and the fast path of a user's creation."""

import os
import sqlite3
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolResetState

from db.aiosqlite_adapter import Connection as Opened
from db.aiosqlite_adapter import Opener
from db.outcome import Write
from db.pool import FairPool
from db.pool_listeners import renew
from db.reader import Reader
from db.statements.events import ADD_EVENT
from db.statements.users import ADD_USER
from db.timing import Timing

# The driver is already in autocommit. Setting it again takes a call in the driver's thread, and a
# cancellation during that call leaks the connection.
AUTOCOMMIT: Final[Mapping[str, Any]] = {}
_CHECKPOINT_MS = 200
_PRIMARY_CODE: Final = 0xFF


class File:
    """The database file. It detects that another file has replaced the open one.

    A connection keeps a deleted or replaced file open, and writes to it are lost.
    """

    def __init__(self, path: str) -> None:
        self.opener = Opener(self.open)
        self._prober = Opener(self._open)
        self.path = path
        self._opened: tuple[int, int] | None = None

    def open(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = self._open(*arguments, **options)
        self._opened = self._identity()
        return connection

    def probe(self) -> Opened:
        """Open the file for a health check, without an effect on `is_moved`."""
        return self._prober.connect(self.path, isolation_level=None)

    async def wait_closed(self) -> None:
        await self.opener.wait_closed()
        await self._prober.wait_closed()

    def _open(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        # Only the first call may create the file.
        if self._opened is not None and not os.path.exists(self.path):  # noqa: PTH110 - the fastest check
            error = sqlite3.OperationalError("the database's file is missing")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        connection: sqlite3.Connection = sqlite3.connect(
            *arguments, **options, factory=_ClosingConnection
        )
        return connection

    def is_moved(self) -> bool:
        return self._opened is not None and self._identity() != self._opened

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - takes a quarter of the time, before each write
        except OSError:
            return None
        return found.st_dev, found.st_ino


class _ClosingConnection(sqlite3.Connection):
    """A connection that is closed although its cursors are still referenced.

    SQLite keeps a connection and its locks until each statement has ended. A cancelled task can
    leave a cursor behind whose statement has not returned all of its rows.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors = WeakSet[sqlite3.Cursor]()

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        made = super().cursor(*arguments, **options)
        self._cursors.add(made)
        return made

    def close(self) -> None:
        cursors, self._cursors = list(self._cursors), WeakSet()  # it can be closed twice
        for cursor in cursors:
            cursor.close()
        super().close()


def engine(
    url: URL, file: File, timing: Timing, *, checkpoints: bool, **options: Any
) -> AsyncEngine:
    made = create_async_engine(
        url,
        connect_args={"isolation_level": None, "async_creator_fn": file.opener.connect},
        poolclass=FairPool,
        pool_reset_on_return=None,  # done by `_end`
        **options,
    )
    renew(made.sync_engine, timing)
    pragmas = () if checkpoints else ("wal_autocheckpoint = 0",)
    event.listen(made.sync_engine, "connect", partial(_set_up, timing, pragmas))
    event.listen(made.sync_engine, "begin", _begin)
    event.listen(made.sync_engine, "reset", _end)
    event.listen(made.sync_engine, "invalidate", _interrupt)
    return made


def fetch(driver: Any, text: str, arguments: Sequence[Any]) -> Awaitable[list[Any]]:
    found: Awaitable[list[Any]] = driver.execute_fetchall(text, arguments)
    return found


async def insert_user(reader: Reader, values: Mapping[str, Any], write: Write) -> list[Any]:
    """Insert a user and their event.

    Inserts neither, and returns no row, if a unique value is taken.

    All statements run in one call of the connection's thread, because a call costs several times as
    much as a statement.
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


async def leave_checkpoint(_: AsyncEngine) -> bool:
    # Litestream must see each page of the log, and blocks checkpoints of others.
    return True


async def checkpoint(engine: AsyncEngine) -> bool:
    # The timeout is short: writers wait while the checkpoint waits for readers.
    async with engine.connect() as connection:
        usual = (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
        try:
            done = await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return not done.one()[0]
        finally:
            if not connection.invalidated:  # otherwise it is closed, because the task was cancelled
                await connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")


def check_writable(connection: sqlite3.Connection, seconds: float) -> None:
    """Raise sqlite3.Error if the file accepts no writes. Nothing is written.

    A lock of another writer is no error. `seconds` limits the wait for a program that uses the file
    exclusively.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")  # a read-only file treats this as BEGIN
        try:
            connection.execute("PRAGMA user_version = 0")
        finally:
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
            raise
        connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # works during another's write


def _set_up(timing: Timing, pragmas: Sequence[str], connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {round(timing.sqlite_open * 1000)}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # with WAL a power cut can lose the last commits, never corrupt
        "foreign_keys = ON",
        "secure_delete = ON",  # erased data is overwritten and does not remain in free pages
        f"busy_timeout = {round(timing.sqlite_busy * 1000)}",
        *pragmas,
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _end(connection: Any, _: object, state: PoolResetState) -> None:
    # Without an open transaction, no call of the driver's thread is needed.
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()


def _interrupt(connection: Any, *_: object) -> None:
    """Interrupt the statement of an abandoned connection, for example after a timeout.

    Otherwise the thread would finish it, and closing the connection would wait for that.
    """
    connection.driver_connection.give_up()


def _begin(connection: Connection) -> None:
    """Begin a writing transaction with SQLite's write lock.

    A read that later upgrades to a write can fail at any time. Sessions that only read use
    autocommit and open no transaction.
    """
    if connection.get_execution_options().get("roster_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
