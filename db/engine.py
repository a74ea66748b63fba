"""The database: sessions that read or write, and what has to be done otherwise on either."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any, Final, TypeVar, cast

import asyncpg
import orjson
from sqlalchemy import ARRAY, Boolean, Select, String, func, literal_column, select, text

from db import notifications, postgres, sqlite
from db.notifications import SideConnection
from db.pool import FairPool
from db.prepared import PreparedStatement
from db.reader import Reader
from db.session import Backend, Session
from db.sqlalchemy_adapter import greenlet_spawn
from db.url import parse_url
from db.watchdog import Watchdog

T = TypeVar("T")

_PING_SECONDS: Final = 2.0  # until a health check has its answer, in any case
_EVENT_LOCKS: Final = (
    "relation = 'user_events'::regclass AND mode = 'RowExclusiveLock' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_STANDBY: Final = func.pg_is_in_recovery(type_=Boolean()).label("is_standby")
_WRITERS: Final = f"ARRAY(SELECT virtualtransaction FROM pg_locks WHERE {_EVENT_LOCKS})"  # noqa: S608 - our own text
_SELECT_WRITERS: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
    _STANDBY, literal_column(_WRITERS, ARRAY(String())).label("names")
)
_EVENT_WRITERS: Final = PreparedStatement(_SELECT_WRITERS)
_IS_STANDBY: Final = PreparedStatement(select(_STANDBY))
_EVENT_TRANSACTIONS: Final = text(
    "SELECT pid, application_name, state, "  # noqa: S608 - our own text
    "EXTRACT(epoch FROM clock_timestamp() - xact_start)::float AS seconds "
    "FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) "
    f"WHERE virtualtransaction = ANY(:names) AND {_EVENT_LOCKS} ORDER BY pid"
)
_LOCKS_SECONDS: Final = 3.0  # for a statement on the server's list of locks
_OPTIONS: Mapping[str, Any] = {
    "max_overflow": 0,
    "hide_parameters": True,  # they are personal data, and errors are logged
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}


class StandbyError(ConnectionError):
    """Only the primary can tell, and this server is a standby that may be behind it."""


class Database:
    """One database, SQLite or PostgreSQL: its engine, and sessions that read or write.

    Times are seconds: `pool_timeout` to wait for a connection, `statement_timeout` for an answer
    from PostgreSQL, `pool_max_age` after which a connection to PostgreSQL is replaced,
    `idle_transaction_timeout` after which PostgreSQL ends a transaction that does nothing. A closed
    connection is noticed in any case; `pool_pre_ping` has the server asked too, where one has
    rested. `identity_secret` is for `db.identity_key`.
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
        idle_transaction_timeout: float = postgres.IDLE_TRANSACTION_SECONDS,
        identity_secret: bytes | None = None,
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._connector = postgres.Connector(idle_transaction_timeout)
        pool: dict[str, Any] = {"pool_size": pool_size, "pool_timeout": pool_timeout}
        self._max_age = pool_max_age
        self._file = sqlite.File(self.url.database or "") if self.is_sqlite else None
        if self._file:
            self.engine = sqlite.engine(self.url, self._file, **_OPTIONS, **pool)
        else:
            self.engine = postgres.engine(
                self.url,
                self._connector,
                statement_timeout=statement_timeout,
                pool_pre_ping=pool_pre_ping,
                pool_max_age=pool_max_age,
                **_OPTIONS,
                **pool,
            )
        self._pool.on_discard = self._discard_others
        own = sqlite if self.is_sqlite else postgres
        self.reader = Reader(self.engine, own.fetch, own.AUTOCOMMIT)
        self._backend = Backend(
            self.engine,
            self.engine.execution_options(**own.AUTOCOMMIT),
            self.reader,
            writer=asyncio.Lock() if self.is_sqlite else None,
            reopen_moved_file=self._reopen_moved_file,
            check_primary=self.check_primary,
            insert_user=own.insert_user,
            checkpoint=own.checkpoint,
            info={"identity_secret": identity_secret},
        )
        # Apart, so that a notification never waits for a request's connection, nor takes it one.
        self._beside = SideConnection(self._connect, pool_max_age)
        self._listeners: set[asyncio.Event] = set()
        self._ping: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    def session(self) -> Session:
        """Return a session, for one operation: `async with database.session() as session:`."""
        return Session(self._backend)

    def check_file(self) -> None:
        """Raise sqlite3.Error where SQLite's file cannot be opened.

        Before an event loop that is to be short: aiosqlite's thread can outlive it, and then tells
        of the failure itself, in a traceback.
        """
        if self.url.database and self.is_sqlite:
            sqlite3.connect(self.url.database).close()

    async def ping(self) -> None:
        """Raise what `is_unreachable` knows if the database is no use within two seconds.

        It has to answer and to take writes. All who ask at a time wait for one answer: what a lock
        or a dead network holds up takes one connection, however often it is asked for.
        """
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._check())
            self._ping.add_done_callback(lambda ping: ping.cancelled() or ping.exception())
        ping = self._ping
        # It is not cancelled: to clean up after it could take as long again.
        await asyncio.wait({ping}, timeout=_PING_SECONDS)
        if not ping.done():
            raise TimeoutError("the database does not answer")
        ping.result()

    async def _check(self) -> None:
        if not self.is_sqlite and self._pool.is_exhausted:
            # Requests have all connections. How long they take says nothing of the database.
            await self._beside.run(postgres.check_writable)
            return
        self._reopen_moved_file()
        check = sqlite.check_writable if self.is_sqlite else postgres.check_writable
        async with self.engine.connect() as connection:
            lent = await connection.get_raw_connection()
            try:
                await check(lent.driver_connection)
            except BaseException as error:
                if not isinstance(error, Exception) or self._pool.sort_out(error):
                    await connection.invalidate(error)
                raise

    async def check_primary(self) -> None:
        """Raise StandbyError on a standby, which may be behind what was read from the primary."""
        if self.is_sqlite:
            return
        [found] = await self.reader.fetch(_IS_STANDBY, seconds=_LOCKS_SECONDS)
        if found.is_standby:
            raise StandbyError("the database is a standby")

    async def event_writers(self) -> frozenset[str]:
        """Name the transactions that may have an event to commit; each once only, for ever.

        PostgreSQL gives ids out as events are inserted, and lets others see them as transactions
        end, in any order: whoever inserts holds this lock from before the id until after the
        commit. SQLite has one writer, whose events are the last. A standby sees no writers, though
        the primary has some: there StandbyError is raised.
        """
        if self.is_sqlite:
            return frozenset()
        [found] = await self.reader.fetch(_EVENT_WRITERS, seconds=_LOCKS_SECONDS)
        if found.is_standby:
            raise StandbyError("the database is a standby")
        return frozenset(found.names)

    async def describe_event_writers(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        """Return what PostgreSQL tells of transactions; `event_writers` names them.

        Nothing of their statements. Of other roles' transactions some values can be null, and a
        prepared one has no process.
        """
        async with self.session() as session:
            found = await session.execute(_EVENT_TRANSACTIONS, {"names": list(names)})
        return [row._asdict() for row in found]

    async def notify(self, sender: str = "") -> None:
        """Tell all who listen that there may be new events; never inside a transaction.

        PostgreSQL lets only one transaction that notifies commit at a time.
        """
        if not self.is_sqlite:
            await self._beside.run(partial(notifications.notify, sender=sender))

    @asynccontextmanager
    async def listening(self, heard: Callable[[str], None]) -> AsyncIterator[asyncio.Event]:
        """Hear of new events from other processes, on a connection of its own.

        Gives what is set when that connection is lost. SQLite tells nobody anything.
        """
        if self.is_sqlite:
            yield asyncio.Event()
            return
        async with notifications.listening(self._connect, heard, self._max_age) as lost:
            self._listeners.add(lost)
            try:
                yield lost
            finally:
                self._listeners.discard(lost)

    def watch(self) -> None:
        """See from now on whether PostgreSQL answers, and end what waits for it if it doesn't."""
        if not self.is_sqlite:
            dog = Watchdog(lambda: self._pool, self._knock)
            self._watch = asyncio.create_task(dog.run())

    async def close(self) -> None:
        """Close all connections; what is still in use, when it is given back."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.reader.close()
        if self._ping:
            self._ping.cancel()
            await asyncio.wait({self._ping}, timeout=_PING_SECONDS)
        await self._beside.close()
        # `dispose` of the engine would give it a pool to go on with, which nobody closes.
        await greenlet_spawn(self.engine.sync_engine.pool.dispose)

    async def _connect(self) -> asyncpg.Connection:
        """Make a connection to PostgreSQL beside those of the pool."""
        _, options = self.engine.dialect.create_connect_args(self.url)
        return await self._connector.connect(**options)

    async def _knock(self) -> None:
        """Raise an error if no new connection can be made."""
        await notifications.close(await self._connect())

    @property
    def _pool(self) -> FairPool:
        return cast("FairPool", self.engine.sync_engine.pool)

    def _discard_others(self) -> None:
        """Have what notifies and what listens connect again too: they may be at another server."""
        self._beside.discard()
        for lost in self._listeners:
            lost.set()

    def _reopen_moved_file(self) -> None:
        """Open SQLite's file again if it was moved: what is written to the old one is lost."""
        if self._file and self._file.is_moved():
            self._pool.discard()
