"""The database: sessions that read or write, and what has to be done otherwise on either."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import Any, cast

import orjson
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from db import postgres, sqlite
from db.driver import fetch, insert_both, run
from db.outcome import Outcome, Write
from db.pool import FairPool
from db.query import Query
from db.reading import Reader
from db.statements import ADD_EVENT, ADD_USER, ADD_USER_WITH_EVENT
from db.url import parse_url

_CHANNEL = "roster_events"
_NOTIFY = Query(select(func.pg_notify(bindparam("channel"), bindparam("sender")).label("told")))
_EVENT_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'user_events'::regclass AND "
    "mode = 'RowExclusiveLock' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_WAIT_IN_LINE = text("SELECT pg_advisory_xact_lock(:line)")
_LINE = int.from_bytes(b"roster")  # the advisory lock of a line that all processes stand in
_OPTIONS: Mapping[str, Any] = {
    "max_overflow": 0,
    "hide_parameters": True,  # they are personal data, and errors are logged
    "json_serializer": lambda value: orjson.dumps(value).decode(),
}


class Database:
    """One database, SQLite or PostgreSQL: its engine, and sessions that read or write.

    A reading session runs in autocommit, so that no transaction is opened to read a row; a writing
    one is one transaction. Both take a connection when they begin and give it back at the end.

    Times are seconds: `pool_timeout` to wait for a connection, `statement_timeout` for an answer
    from PostgreSQL, `pool_max_age` after which a connection to PostgreSQL is replaced. A closed
    connection is noticed in any case; `pool_pre_ping` has the server asked too, where one has
    rested.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        pool_timeout: float = 30,
        pool_pre_ping: bool = True,
        pool_max_age: float = inf,
        statement_timeout: float | None = None,
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        pool: dict[str, Any] = {"pool_size": pool_size, "pool_timeout": pool_timeout}
        self._max_age = pool_max_age
        self._file = sqlite.File(self.url.database or "") if self.is_sqlite else None
        if self._file:
            self.engine = sqlite.engine(self.url, self._file, **_OPTIONS, **pool)
        else:
            self.engine = postgres.engine(
                self.url,
                statement_timeout=statement_timeout,
                pool_pre_ping=pool_pre_ping,
                pool_max_age=pool_max_age,
                **_OPTIONS,
                **pool,
            )
        self._pool.on_discard = self._discard_others
        own = sqlite if self.is_sqlite else postgres
        self._autocommit = own.AUTOCOMMIT
        self.reader = Reader(self.engine, own.fetch, own.AUTOCOMMIT)
        # Apart, so that a notification never waits for a request's connection, nor takes it one.
        self._notifier = None if self.is_sqlite else self._another()
        self._listeners: set[asyncio.Event] = set()
        # SQLite has one writer: in this process writers queue here, where a waiter costs nothing,
        # and not inside SQLite, where it costs a thread that sleeps and polls.
        self._writer = asyncio.Lock() if self.is_sqlite else None

    def session(self) -> AsyncSession:
        return AsyncSession(self.engine, expire_on_commit=False, autoflush=False)

    async def begin_reading(self, session: AsyncSession) -> None:
        """Take a connection in autocommit; `session.close()` gives it back."""
        await session.connection(execution_options=self._autocommit)

    @asynccontextmanager
    async def transaction(
        self, session: AsyncSession, *, in_line: bool = False, write: Write | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Commit at the end of the block, or roll back what it did if it raises.

        Of all who are `in_line` one is let in at a time, in the order in which they came. `write`
        says at any time what is known of the transaction.
        """
        async with AsyncExitStack() as stack:
            if self._writer:
                await stack.enter_async_context(self._writer)
            self._see_to_file()
            async with session.begin():
                await session.connection(execution_options={"roster_writes": True})
                if in_line and not self.is_sqlite:
                    await session.execute(_WAIT_IN_LINE, {"line": _LINE})
                yield session
                await session.flush()  # so that nothing but COMMIT is left
                with (write or Write()).committing():
                    await session.commit()

    async def add(
        self,
        user: Mapping[str, Any],
        event: Mapping[str, Any],
        write: Write | None = None,
    ) -> int | None:
        """Insert a user and their event in one transaction, which is over when it has answered.

        Gives the user's id; None, with neither inserted, where a unique value is taken.
        """
        given = {**user, **{f"event_{name}": value for name, value in event.items()}}
        write = write or Write()
        if self._writer is None:
            rows = await fetch(self.engine, ADD_USER_WITH_EVENT, given, write)
        else:
            async with self._writer:
                self._see_to_file()
                rows = await insert_both(
                    self.engine, ADD_USER, ADD_EVENT, given, key="user_id", write=write
                )
        if not rows:
            write.outcome = Outcome.NOT_DONE
            return None
        user_id: int = rows[0][0]
        return user_id

    def check_file(self) -> None:
        """Raise sqlite3.Error where SQLite's file cannot be opened.

        Before an event loop that is to be short: aiosqlite's thread can outlive it, and then tells
        of the failure itself, in a traceback.
        """
        if self.url.database and self.is_sqlite:
            sqlite3.connect(self.url.database).close()

    async def ping(self) -> None:
        """Raise what `is_unreachable` knows if the database doesn't answer or takes no writes."""
        self._see_to_file()
        check = sqlite.check_writable if self.is_sqlite else postgres.check_writable
        async with self.engine.connect() as connection:
            lent = await connection.get_raw_connection()
            try:
                await check(lent.driver_connection)
            except BaseException as error:
                if not isinstance(error, Exception) or self._pool.sort_out(lent, error):
                    await connection.invalidate(error)
                raise

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
            await fetch(self._notifier, _NOTIFY, values)

    @asynccontextmanager
    async def listening(self, heard: Callable[[str], None]) -> AsyncIterator[asyncio.Event]:
        """Hear of new events from other processes, on a connection of its own.

        Gives what is set when that connection is lost. SQLite tells nobody anything.
        """
        lost = asyncio.Event()
        if self.is_sqlite:
            yield lost
            return
        engine = self._another()
        self._listeners.add(lost)
        try:
            async with engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                driver.add_termination_listener(lambda _: lost.set())
                await driver.add_listener(_CHANNEL, lambda *told: heard(told[-1]))
                yield lost
        finally:
            self._listeners.discard(lost)
            await engine.dispose()

    async def forget(self) -> bool:
        """Take what was overwritten out of SQLite's log too; tell whether nobody was in the way.

        PostgreSQL's own files are its administrator's: dead rows go with a vacuum, the log with
        its retention.
        """
        if self._writer is None:
            return True
        async with self._writer:
            asked = run(self.engine, [sqlite.CHECKPOINT], lambda on: on.run(sqlite.check_point))
            [(busy, *_)] = await asked
        return not busy

    async def close(self) -> None:
        """Close all connections; what is still in use, when it is given back."""
        await self.reader.close()
        for engine in (self.engine, self._notifier):
            if engine:  # `dispose` would give it a pool to go on with, which nobody closes
                await greenlet_spawn(engine.sync_engine.pool.dispose)

    def _another(self) -> AsyncEngine:
        """Make an engine for one connection to PostgreSQL beside those of requests."""
        return postgres.engine(self.url, **_OPTIONS, pool_size=1, pool_max_age=self._max_age)

    @property
    def _pool(self) -> FairPool:
        return cast("FairPool", self.engine.sync_engine.pool)

    def _discard_others(self) -> None:
        """Have what notifies and what listens connect again too: they may be at another server."""
        if self._notifier:
            cast("FairPool", self._notifier.sync_engine.pool).discard()
        for lost in self._listeners:
            lost.set()

    def _see_to_file(self) -> None:
        """Open SQLite's file again if it was moved: what is written to the old one is lost."""
        if self._file and self._file.is_moved():
            self._pool.discard()
