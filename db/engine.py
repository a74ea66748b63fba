"""Engines and sessions: with `url`, the only place that knows two dialects."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import aiosqlite
import asyncpg
import orjson
from asyncpg import PostgresError
from sqlalchemy import URL, ClauseElement, Connection, event, text
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool, PoolResetState
from sqlalchemy.util import greenlet_spawn

from db.driver import Prepared, fetch, insert_both, run
from db.pool import FairPool, PostgresPool, watch
from db.reading import Reader
from db.statements import ADD_EVENT, ADD_USER, ADD_USER_WITH_EVENT
from db.url import parse_url

# SQLSTATEs of PostgreSQL, appendix A: of a taken key, of a transaction that can be tried again
# (a serialization failure, a deadlock), and of a server that isn't to be had: class 08 and 28, one
# that stops or starts, one that is full, a primary that became a standby, a database that is gone.
_UNIQUE_VIOLATION = "23505"
_PASSING = ("40001", "40P01")
_UNREACHABLE = ("08", "28", "57P0", "53300", "25006", "3D000")
_SQLITE_UNREACHABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}
T = TypeVar("T")

_CHANNEL = "roster_events"
_NOTIFY = text("SELECT pg_notify(:channel, :sender)")
_EVENT_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'user_events'::regclass AND "
    "mode = 'RowExclusiveLock' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_WAIT_IN_LINE = text("SELECT pg_advisory_xact_lock(:line)")
_LINE = int.from_bytes(b"roster")  # the advisory lock of a line that all processes stand in
_CONNECT_SECONDS = 5
# Longer than any write of ours takes: another process may hold the one write lock.
_SQLITE_BUSY_MS = 30_000
_CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
_CHECKPOINT_MS = 200
_INTERRUPT_SECONDS = 0.05


class Database:
    """One database, SQLite or PostgreSQL: its engine, and sessions that read or write.

    A reading session runs in autocommit, so that no transaction is opened to read a row; a writing
    one is one transaction. Both take a connection when they begin and give it back at the end.

    Times are seconds: `pool_timeout` to wait for a connection, `statement_timeout` for an answer
    from PostgreSQL. A closed connection is noticed in any case; `pool_pre_ping` has the server
    asked too, where one has rested.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        pool_timeout: float = 30,
        pool_pre_ping: bool = True,
        statement_timeout: float | None = None,
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _engine(
            self.url,
            statement_timeout,
            pool_size=pool_size,
            max_overflow=0,
            poolclass=FairPool if self.is_sqlite else PostgresPool,
            pool_timeout=pool_timeout,
            pool_pre_ping=pool_pre_ping,
        )
        self._prepared: dict[ClauseElement, Prepared] = {}
        fetch_rows = _fetch_from_sqlite if self.is_sqlite else _fetch_from_postgres
        self.reader = Reader(self.engine, fetch_rows)
        # Apart, so that a notification never waits for a request's connection, nor takes it one.
        self._notifier = (
            None if self.is_sqlite else _engine(self.url, None, pool_size=1, poolclass=PostgresPool)
        )
        # SQLite has one writer: in this process writers queue here, where a waiter costs nothing,
        # and not inside SQLite, where it costs a thread that sleeps and polls.
        self._writer = asyncio.Lock() if self.is_sqlite else None

    def session(self) -> AsyncSession:
        return AsyncSession(self.engine, expire_on_commit=False, autoflush=False)

    async def begin_reading(self, session: AsyncSession) -> None:
        """Take a connection in autocommit; `session.close()` gives it back."""
        await session.connection(
            execution_options={} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        )

    @asynccontextmanager
    async def transaction(
        self, session: AsyncSession, *, in_line: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """Commit at the end of the block, or roll back what it did if it raises.

        Of all who are `in_line` one is let in at a time, in the order in which they came.
        """
        async with AsyncExitStack() as stack:
            if self._writer:
                await stack.enter_async_context(self._writer)
            async with session.begin():
                await session.connection(execution_options={"roster_writes": True})
                if in_line and not self.is_sqlite:
                    await session.execute(_WAIT_IN_LINE, {"line": _LINE})
                yield session

    async def add(self, user: Mapping[str, Any], event: Mapping[str, Any]) -> int | None:
        """Insert a user and their event in one transaction, which is over when it has answered.

        Gives the user's id; None, with neither inserted, where a unique value is taken.
        """
        given = {**user, **{f"event_{name}": value for name, value in event.items()}}
        if self._writer is None:
            rows = await fetch(self.engine, self._prepare(ADD_USER_WITH_EVENT), given)
        else:
            both = self._prepare(ADD_USER), self._prepare(ADD_EVENT)
            async with self._writer:
                rows = await insert_both(self.engine, *both, given, "user_id")
        return rows[0][0] if rows else None

    def _prepare(self, statement: ClauseElement) -> Prepared:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = Prepared.of(statement, self.engine.dialect)
        return prepared

    def check_file(self) -> None:
        """Raise sqlite3.Error where SQLite's file cannot be opened.

        Before an event loop that is to be short: aiosqlite's thread can outlive it, and then tells
        of the failure itself, in a traceback.
        """
        if self.url.database and self.is_sqlite:
            sqlite3.connect(self.url.database).close()

    async def ping(self) -> None:
        """Raise what `is_unreachable` knows if the database doesn't answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def event_writers(self) -> frozenset[str]:
        """Name the transactions that may have an event to commit; each once only, for ever.

        PostgreSQL gives ids out as events are inserted, and lets others see them as transactions
        end, in any order: whoever inserts holds this lock from before the id until after the
        commit. SQLite has one writer, whose events are the last.
        """
        if self.is_sqlite:
            return frozenset()
        async with self.engine.connect() as connection:
            return frozenset((await connection.execute(_EVENT_WRITERS)).scalars())

    async def notify(self, sender: str = "") -> None:
        """Tell all who listen that there may be new events; never inside a transaction.

        PostgreSQL lets only one transaction that notifies commit at a time.
        """
        if self._notifier:
            values = {"channel": _CHANNEL, "sender": sender}
            await fetch(self._notifier, self._prepare(_NOTIFY), values)

    @asynccontextmanager
    async def listening(self, heard: Callable[[str], None]) -> AsyncIterator[asyncio.Event]:
        """Hear of new events from other processes, on a connection of its own.

        Gives what is set when that connection is lost. SQLite tells nobody anything.
        """
        lost = asyncio.Event()
        if self.is_sqlite:
            yield lost
            return
        engine = _engine(self.url, None, poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                driver.add_termination_listener(lambda _: lost.set())
                await driver.add_listener(_CHANNEL, lambda *told: heard(told[-1]))
                yield lost
        finally:
            await engine.dispose()

    async def forget(self) -> bool:
        """Take what was overwritten out of SQLite's log too; tell whether nobody was in the way.

        PostgreSQL's own files are its administrator's: dead rows go with a vacuum, the log with
        its retention.
        """
        if self._writer is None:
            return True
        async with self._writer:
            [(busy, *_)] = await run(self.engine, [_CHECKPOINT], lambda on: on.run(_check_point))
        return not busy

    async def close(self) -> None:
        """Close all connections; what is still in use, when it is given back."""
        await self.reader.close()
        for engine in (self.engine, self._notifier):
            if engine:  # `dispose` would give it a pool to go on with, which nobody closes
                await greenlet_spawn(engine.sync_engine.pool.dispose)


def is_unique_violation(error: IntegrityError) -> bool:
    """Tell a taken unique key from every other broken constraint, by code, never by message."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_UNIQUE
    return _sqlstate(error) == _UNIQUE_VIOLATION


def is_passing(error: DBAPIError) -> bool:
    """Tell whether the same transaction, tried again, may well succeed."""
    return _sqlstate(error) in _PASSING


def is_unreachable(error: BaseException | None) -> bool:
    """Tell whether the database, and not the request, is at fault: it is gone, stopping or full."""
    match error:
        case PoolTimeoutError() | OSError():  # a TimeoutError is an OSError too
            return True
        case PostgresError():
            return str(error.sqlstate).startswith(_UNREACHABLE)
        case sqlite3.Error():
            return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_UNREACHABLE
        case DBAPIError(connection_invalidated=True):
            return True
        case DBAPIError(orig=sqlite3.Error() as cause):
            return is_unreachable(cause)
        case DBAPIError():
            return is_unreachable(getattr(error.orig, "__cause__", None))
        case EmulatedDBAPIException():  # as SQLAlchemy's dialect for asyncpg translates
            return is_unreachable(error.__cause__)
        case _:
            return False


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _engine(url: URL, statement_timeout: float | None, **options: Any) -> AsyncEngine:
    options |= {"hide_parameters": True}  # they are personal data, and errors are logged
    options |= {"json_serializer": lambda value: orjson.dumps(value).decode()}
    if url.get_backend_name() == "sqlite":
        connecting = {"isolation_level": None, "async_creator_fn": _connect_sqlite}
        options |= {"pool_reset_on_return": None}  # `_end_on_sqlite` does it
        engine = create_async_engine(url, connect_args=connecting, **options)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_on_sqlite)
        event.listen(engine.sync_engine, "reset", _end_on_sqlite)
        event.listen(engine.sync_engine, "invalidate", _interrupt_sqlite)
        return engine
    pings = options.pop("pool_pre_ping", False)
    engine = create_async_engine(
        url,
        connect_args={
            "async_creator_fn": _Connecting,
            "timeout": _CONNECT_SECONDS,
            "command_timeout": statement_timeout,
            "server_settings": {"application_name": "roster", "timezone": "UTC", "jit": "off"},
        },
        **options,
    )
    watch(engine.sync_engine, pings=pings)
    return engine


class _Connecting:
    """A connection to PostgreSQL that is on its way once somebody waits for it, and not before.

    A read tries first whether there is one already (`db.reading`): asyncpg's own coroutine would
    complain then that nobody had waited for it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments = arguments
        self._options = options

    def __await__(self) -> Generator[Any, None, Any]:
        connecting: Generator[Any, None, Any] = asyncpg.connect(
            *self._arguments, **self._options
        ).__await__()
        return connecting


def _fetch_from_postgres(
    driver: Any, text: str, arguments: Sequence[Any]
) -> Awaitable[Sequence[Any]]:
    found: Awaitable[Sequence[Any]] = driver.fetch(text, *arguments)
    return found


def _fetch_from_sqlite(
    driver: Any, text: str, arguments: Sequence[Any]
) -> Awaitable[Sequence[Any]]:
    found: Awaitable[Sequence[Any]] = driver.execute_fetchall(text, arguments)
    return found


class _SQLite(aiosqlite.Connection):
    """A connection that can be stopped twice.

    SQLAlchemy closes one whose statement was cancelled; where that is cancelled too, it stops the
    thread meanwhile. To the stop with which closing ends nobody would then ever answer: its task
    waited for the rest of the process's life, or was destroyed.
    """

    _stopping: asyncio.Future[Any] | None = None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in the connection's thread."""
        done: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite's own
        return done

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopping is None:
            self._stopping = super().stop()
        return self._stopping

    def give_up(self) -> None:
        """Interrupt until it is closed: what comes before the statement has begun is lost."""
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # it is being closed
                self._connection.interrupt()
                asyncio.get_running_loop().call_later(_INTERRUPT_SECONDS, self.give_up)


def _connect_sqlite(*arguments: Any, **options: Any) -> _SQLite:
    connection = _SQLite(lambda: sqlite3.connect(*arguments, **options), 64)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does where it connects itself
    return connection


def _check_point(connection: sqlite3.Connection) -> list[Any]:
    """Be of little patience: it keeps all writers waiting for as long as somebody reads."""
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
    try:
        return connection.execute(_CHECKPOINT).fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # with WAL a power cut can undo the last commits, never corrupt
        "foreign_keys = ON",
        "secure_delete = ON",  # what is erased is overwritten, and does not linger in free pages
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _end_on_sqlite(connection: Any, _: object, state: PoolResetState) -> None:
    """Roll back what was left open; where nothing was, its thread need not be asked."""
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()


def _interrupt_sqlite(connection: Any, *_: object) -> None:
    """End the statement of a connection that was given up, by a time-out for instance.

    Its thread would go on with it, and whoever closes the connection would wait for that.
    """
    connection.driver_connection.give_up()


def _begin_on_sqlite(connection: Connection) -> None:
    """Take SQLite's write lock at once: a read that turns into a write can be refused at any time.

    The driver runs in autocommit, so a session that only reads opens no transaction.
    """
    if connection.get_execution_options().get("roster_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
