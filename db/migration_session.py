"""How migrations of PostgreSQL take locks: one at a time, and without blocking requests for long.

A statement that waits for a lock blocks all later readers of the table. So it gives up after
`lock_timeout`, and the migration is tried again after a pause.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.errors import is_lock_timeout, is_passing

if TYPE_CHECKING:
    from db.engine import Database

Announce = Callable[[str], None]

# An arbitrary number that nothing else in the database uses. It serialises migrations.
MIGRATION_LOCK: Final = 5_077_837
# A session lock, because CREATE INDEX CONCURRENTLY cannot run in a transaction. It is polled: the
# index waits for all older snapshots, and a session that waits for a lock has one.
_TRY_LOCK: Final = text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
_UNLOCK: Final = text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")
_HOLDER: Final = text(
    "SELECT pid, application_name, state, backend_type, "  # noqa: S608 - a constant
    "EXTRACT(epoch FROM clock_timestamp() - xact_start)::float AS seconds "
    "FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted "
    f"AND classid = 0 AND objid = {MIGRATION_LOCK} AND objsubid = 1 AND pg_locks.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
# Limits of the role or the database would end a long statement, or a pause between two.
_UNLIMITED: Final = (
    "('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
)
_SET_UP: Final = text(
    "SELECT set_config(name, '0', false) FROM pg_settings "  # noqa: S608 - a constant
    f"WHERE name IN {_UNLIMITED} UNION ALL SELECT set_config('lock_timeout', :limit, false)"
)
_PID: Final = text("SELECT pg_backend_pid()")
_BLOCKERS: Final = """
  SELECT (SELECT relation::regclass::text FROM pg_locks
      WHERE pid = $1 AND NOT granted AND relation IS NOT NULL LIMIT 1) AS relation,
    pid, application_name, state, backend_type,
    EXTRACT(epoch FROM clock_timestamp() - xact_start)::float AS seconds
  FROM unnest(pg_blocking_pids($1)) AS pid LEFT JOIN pg_stat_activity USING (pid)
  ORDER BY xact_start"""
_LOOKS: Final = 3  # for who is in the way, during one wait for a lock
_POLL_SECONDS: Final = (0.2, 0.6)


class MigrationBlocked(Exception):
    """A lock was not granted in time. The message names the transactions that hold it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a migration waits, in seconds.

    `lock_timeout` limits one statement, and so how long requests wait behind it. By default it is
    longer than PostgreSQL's `deadlock_timeout`, after which an autovacuum in the way is cancelled.
    `wait` limits all attempts of one revision, the wait of a concurrent index for transactions, and
    the wait for another migration.
    """

    lock_timeout: float = 1.5
    wait: float = 600.0
    pauses: tuple[float, float] = (1.0, 10.0)  # the first one and the longest one

    def pause(self, failures: int) -> float:
        first, longest = self.pauses
        return min(longest, first * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


@asynccontextmanager
async def migrating(
    database: "Database", patience: Patience, announce: Announce
) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that holds the lock of migrations. Raises MigrationBlocked."""
    async with database.engine.connect() as connection:
        try:
            await _set_limits(connection, patience)
            await _lock(connection, patience, announce)
            yield connection
        finally:
            with suppress(SQLAlchemyError, OSError):
                await connection.rollback()
                await connection.execute(_UNLOCK)
                await connection.commit()
            # Its settings must not reach another user of the pool.
            await connection.invalidate()


async def _set_limits(connection: AsyncConnection, patience: Patience) -> None:
    limit = f"{round(patience.lock_timeout * 1000)}ms"
    await connection.execute(_SET_UP, {"limit": limit})
    await connection.commit()


async def _lock(connection: AsyncConnection, patience: Patience, announce: Announce) -> None:
    clock = asyncio.get_running_loop().time
    until, announced = clock() + patience.wait, ""
    while not await connection.scalar(_TRY_LOCK):
        holders = [row._asdict() for row in await connection.execute(_HOLDER)]
        await connection.commit()
        found = " and ".join(_describe(holder) for holder in holders)
        if clock() >= until:
            raise MigrationBlocked(
                f"another migration was still running after {patience.wait:g} seconds: {found}"
            )
        if found not in {"", announced}:
            announce(f"Waiting for another migration: {found}")
            announced = found
        await asyncio.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - not a secret
    await connection.commit()


class Attempts:
    """Runs a migration until it does not fail because of a lock."""

    def __init__(
        self,
        database: "Database",
        connection: AsyncConnection,
        patience: Patience,
        announce: Announce,
    ) -> None:
        self.connection = connection
        self.patience = patience
        self._watch = _Watch(database, patience.lock_timeout / _LOOKS, announce)

    async def run(self, migrate: Callable[[Connection], None]) -> None:
        """Call `migrate`, which continues after the last committed revision, until it succeeds.

        Raises MigrationBlocked after `patience.wait` seconds.
        """
        pid = await self.connection.scalar(_PID)
        clock = asyncio.get_running_loop().time
        begun = clock()
        for failures in count(1):
            # A failed operation outside a transaction leaves other limits.
            await _set_limits(self.connection, self.patience)
            try:
                async with self._watch.running(pid):
                    await self.connection.run_sync(migrate)
                    return
            except DBAPIError as error:
                await self.connection.rollback()
                if not (is_lock_timeout(error) or is_passing(error)):
                    raise
            pause, waited = self.patience.pause(failures), clock() - begun
            if waited + pause >= self.patience.wait:
                raise MigrationBlocked(self._watch.verdict(waited))
            await asyncio.sleep(pause)


class _Watch:
    """Finds, on another connection, which transactions block the connection of the migration."""

    def __init__(self, database: "Database", interval: float, announce: Announce) -> None:
        self._database = database
        self._interval = interval
        self._pid = 0
        self._announce = announce
        self._announced: set[int] = set()
        self._seen = ""

    @asynccontextmanager
    async def running(self, pid: int) -> AsyncIterator[None]:
        self._pid = pid
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._database.run_beside(self._look)

    async def _look(self, driver: asyncpg.Connection) -> None:
        blockers = await driver.fetch(_BLOCKERS, self._pid)
        if not blockers:
            return
        on = f" on {blockers[0]['relation']}" if blockers[0]["relation"] else ""
        self._seen = f"a lock{on} is held by {' and '.join(map(_describe, blockers))}"
        pids = {blocker["pid"] for blocker in blockers}
        if not pids <= self._announced:
            self._announced |= pids
            self._announce(f"Waiting: {self._seen}")

    def verdict(self, seconds: float) -> str:
        seen = self._seen or "a lock was not granted"
        return f"no progress in {seconds:.0f} seconds: {seen}"


def _describe(session: Mapping[str, Any]) -> str:
    """Describe a session without its statements, which can contain personal data."""
    if not session["pid"]:
        return "a prepared transaction (see pg_prepared_xacts)"
    names = ("application_name", "state", "backend_type")
    known: Sequence[str] = [
        session[name] for name in names if session[name] not in {None, "", "client backend"}
    ]
    if session["seconds"] is not None:
        known = [*known, f"open for {session['seconds']:.0f} s"]
    return f"process {session['pid']}" + (f" ({', '.join(known)})" if known else "")
