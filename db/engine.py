"""The database: its engine, sessions, health check and notifications."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any, Final, cast

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from db import notifications, postgres, sqlite
from db.connector import IDLE_TRANSACTION_SECONDS, Connector, connecting
from db.erasure_ledger.entries import ErasureLedger
from db.errors import StandbyError
from db.health import FileProbe, HealthCheck, Probe, ServerProbe
from db.notifications import SideConnection
from db.observation import PRIMARY, Observe, Server
from db.pool import FairPool, PostgresPool
from db.poolers import Pooler
from db.primary_watch import PrimaryWatch, Route
from db.reader import Reader
from db.replication.opening import open_replica
from db.replication.router import ReadConsistency, Replicas
from db.replication.servers import Primary
from db.replication.session import RoutedSession
from db.session import Backend, Session
from db.sqlalchemy_adapter import greenlet_spawn
from db.statements.event_writers import DESCRIBE_EVENT_WRITERS, EVENT_WRITERS, IS_STANDBY
from db.timelines import Timelines
from db.timing import DEFAULT, Timing
from db.url import parse_replica_urls, parse_url

_LOCKS_SECONDS: Final = 3.0  # limit of a query of pg_locks
_OPTIONS: Mapping[str, Any] = {
    "max_overflow": 0,
    "hide_parameters": True,  # parameters are personal data, and errors are logged
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}


class Database:
    """One database, SQLite or PostgreSQL: its engine and its sessions.

    Times are in seconds:

      pool_timeout              wait for a connection of the pool
      statement_timeout         wait for PostgreSQL's answer to a statement
      pool_max_age              age at which a connection to PostgreSQL is replaced
      idle_transaction_timeout  idle time after which PostgreSQL ends a transaction
      read_max_lag              how far a replica may be behind the primary

    The pool detects closed connections in any case. With `pool_pre_ping` it also sends a query on
    an idle connection before its next use. `identity_secret` is for `db.identity_key`, and
    `erasure_ledger` records erasures outside of this database. Without `sqlite_checkpoints`,
    another program does them.

    `pooler` is the kind of pooler that `url` leads to. Then `direct_url` leads past it, for what
    needs a session of its own.

    `read_url` names the replicas. Each has an engine with the same pool settings. Only sessions of
    `operation_session` read on them, once `watch` measures them.
    """

    def __init__(
        self,
        url: str,
        *,
        direct_url: str | None = None,
        pooler: Pooler = Pooler.NONE,
        pool_size: int = 10,
        pool_timeout: float = 30,
        pool_pre_ping: bool = True,
        pool_max_age: float = inf,
        statement_timeout: float | None = None,
        idle_transaction_timeout: float = IDLE_TRANSACTION_SECONDS,
        identity_secret: bytes | None = None,
        sqlite_checkpoints: bool = True,
        erasure_ledger: ErasureLedger | None = None,
        read_url: str | None = None,
        read_consistency: ReadConsistency = ReadConsistency.CALLER,
        read_max_lag: float = 10,
        timing: Timing = DEFAULT,
    ) -> None:
        self._timing = timing
        self.erasure_ledger = erasure_ledger
        self.url = parse_url(url)
        self.direct_url = parse_url(direct_url) if direct_url else self.url
        self.pooler = pooler
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timelines = Timelines()
        connector = partial(Connector, idle_transaction_timeout, timing)
        self._connector = connector(pooler, timelines=self._timelines)
        self._connect = connecting(self.url, self._connector)
        self._connect_directly = self._connect
        if direct_url:
            direct = connector(timelines=self._timelines)
            self._connect_directly = connecting(self.direct_url, direct)
        pool: dict[str, Any] = {"pool_size": pool_size, "pool_timeout": pool_timeout}
        self._max_age = pool_max_age
        self._file = sqlite.File(self.url.database or "") if self.is_sqlite else None
        options = {
            **_OPTIONS,
            **pool,
            "timing": timing,
            "statement_timeout": statement_timeout,
            "pool_pre_ping": pool_pre_ping,
            "pool_max_age": pool_max_age,
        }
        replica_urls = parse_replica_urls(read_url) if read_url else []
        primary: Primary | None = None
        if self._file:
            self.engine = sqlite.engine(
                self.url, self._file, timing, checkpoints=sqlite_checkpoints, **_OPTIONS, **pool
            )
        else:
            checked = self._connector
            if replica_urls:
                primary = Primary(self._connect_directly, self._discard, timing, read_max_lag)
                checked = connector(pooler, primary, self._timelines)
            self.engine = postgres.engine(self.url, checked, **options)
            _, found = self.engine.dialect.create_connect_args(self.url)
            route = Route(self._connector, found, self._connect_directly, bool(direct_url))
            self._primary_watch = PrimaryWatch(
                lambda: cast("PostgresPool", self.pool),
                route,
                checked.skip,
                self._timelines,
                timing,
            )
        self.pool.on_discard = self._discard_others
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
            checkpoint=own.checkpoint if sqlite_checkpoints else sqlite.leave_checkpoint,
            info={"identity_secret": identity_secret, "erasure_ledger": erasure_ledger},
        )
        self.replicas: Replicas | None = None
        if primary:
            connect = partial(Connector, idle_transaction_timeout)
            opened = [
                open_replica(url, self._backend, primary, connect, options) for url in replica_urls
            ]
            self.replicas = Replicas(primary, opened, read_consistency, timing)
        # A connection for NOTIFY that neither waits for a request's connection nor occupies one.
        self._beside = SideConnection(self._connect, pool_max_age, timing)
        self._listeners: set[asyncio.Event] = set()
        self._health = HealthCheck(self._probe(pool_max_age), timing)
        self._watch: asyncio.Task[None] | None = None

    @property
    def promotions(self) -> int:
        """How many promotions of another server this process has noticed."""
        return self._timelines.promotions

    def session(self) -> Session:
        """Return a session on the primary."""
        return Session(self._backend)

    def operation_session(self) -> Session:
        """Return a session that may read on a replica, if there are replicas."""
        if self.replicas is None:
            return Session(self._backend)
        return RoutedSession(self._backend, self.replicas)

    @property
    def engines(self) -> Sequence[AsyncEngine]:
        """The engines of the primary and the replicas, for listeners."""
        replicas = self.replicas.replicas if self.replicas else ()
        return [self.engine, *(replica.backend.engine for replica in replicas)]

    def observe(self, observe: Observe, name: str = PRIMARY) -> None:
        """Observe the statements and pools of all servers from now on, and those of the ledger."""
        self.reader.observe(observe(Server.of(name, self.url)))
        for replica in self.replicas.replicas if self.replicas else ():
            url = replica.backend.engine.url
            replica.backend.reader.observe(observe(Server.of(replica.name, url)))
        if self.erasure_ledger:
            self.erasure_ledger.observe(observe)

    async def ping(self) -> None:
        """Check that the database answers and accepts writes, within two seconds.

        Raises an error that `is_unreachable` recognises. Concurrent callers share one check.
        """
        self._reopen_moved_file()
        await self._health.run()

    async def check_primary(self) -> None:
        if self.is_sqlite:
            return
        [found] = await self.reader.fetch(IS_STANDBY, seconds=_LOCKS_SECONDS)
        if found.is_standby:
            raise StandbyError("the database is a standby")

    async def event_writers(self) -> frozenset[str]:
        """Return the names of transactions that may still commit events. A name is never reused.

        SQLite has a single writer, so its events are visible in order. Raises StandbyError on a
        standby.
        """
        if self.is_sqlite:
            return frozenset()
        [found] = await self.reader.fetch(EVENT_WRITERS, seconds=_LOCKS_SECONDS)
        if found.is_standby:
            raise StandbyError("the database is a standby")
        return frozenset(found.names)

    async def describe_event_writers(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        """Return PostgreSQL's process, application, state and age of the named transactions.

        Statements are not included. Values can be null for transactions of other roles, and a
        prepared transaction has no process.
        """
        async with self.session() as session:
            found = await session.execute(DESCRIBE_EVENT_WRITERS, {"names": list(names)})
        return [row._asdict() for row in found]

    async def notify(self, sender: str = "") -> None:
        """Notify all listening processes of new events. Must not be called inside a transaction.

        PostgreSQL lets only one transaction that notifies commit at a time.
        """
        if not self.is_sqlite:
            await self.run_beside(partial(notifications.notify, sender=sender))

    async def run_beside(self, ask: notifications.Ask) -> None:
        """Run an idempotent statement on a connection to PostgreSQL outside the pool."""
        await self._beside.run(ask)

    @asynccontextmanager
    async def listening(self, heard: Callable[[str], None]) -> AsyncIterator[asyncio.Event]:
        """Receive notifications of other processes on a separate connection.

        Yields an event that is set when this connection is lost. SQLite has no notifications.
        """
        if self.is_sqlite:
            yield asyncio.Event()
            return
        async with notifications.listening(
            self._connect_directly, heard, self._max_age, self._timing
        ) as lost:
            self._listeners.add(lost)
            try:
                yield lost
            finally:
                self._listeners.discard(lost)

    def watch(self) -> None:
        if not self.is_sqlite:
            self._watch = asyncio.create_task(self._primary_watch.run())
        if self.replicas:
            self.replicas.watch()

    async def close(self) -> None:
        # A connection in use is closed when it is released.
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self.replicas:
            await self.replicas.close()
        await self.reader.close()
        await self._health.close()
        await self._beside.close()
        # The engine's own `dispose` would create a new pool, which nothing closes.
        await greenlet_spawn(self.engine.sync_engine.pool.dispose)
        if self._file:
            await self._file.wait_closed()
        if self.erasure_ledger:
            await self.erasure_ledger.close()

    def _probe(self, max_age: float) -> Probe:
        def read_only(error: Exception) -> None:
            self.pool.sort_out(error)

        if self._file:
            return FileProbe(self._file, read_only, self._timing)
        return ServerProbe(self._connect, read_only, max_age, self._timing)

    @property
    def pool(self) -> FairPool:
        """The pool of the primary."""
        return cast("FairPool", self.engine.sync_engine.pool)

    def _discard(self) -> None:
        self.pool.discard()

    def _discard_others(self) -> None:
        # Other connections may lead to a server that is no longer the primary, too.
        self._beside.discard()
        self._health.discard()
        if self.replicas:
            self.replicas.primary.monitor.reconnect()
        for lost in self._listeners:
            lost.set()

    def _reopen_moved_file(self) -> None:
        # Writes to a file that was moved are lost.
        if self._file and self._file.is_moved():
            self.pool.discard()
