"""The primary and its replicas, as measured by their monitors.

Exception
└── OSError
    └── ConnectionError
        └── ReplicaUnusableError  a connection to a replica that must not be used now
"""

from collections import deque
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any, Final, NamedTuple, cast

import asyncpg
import structlog

from db.error_summary import summarize
from db.errors import StandbyError
from db.pool import PostgresPool
from db.replication.monitor import Monitor
from db.replication.position import PRIMARY, Position
from db.session import Backend
from db.sqlalchemy_adapter import greenlet_spawn
from db.statements.replication import (
    ADD_PRIMARY_TERM,
    PRIMARY_POSITION,
    REPLICA_POSITION,
    SERVER_IDENTITY,
)
from db.timing import Timing

log = structlog.get_logger("roster")

Connect = Callable[[], Awaitable[asyncpg.Connection]]

_NAME_BYTES: Final = 8


class ReplicaUnusableError(ConnectionError):
    """The message is the reason."""


class Server:
    """A server and the upper bound of what its readers have seen."""

    def __init__(self) -> None:
        self.identity: str | None = None  # of the process, which changes with each start
        self.last_bound: Position = PRIMARY  # of reads before the last measurement
        self.epoch = 0  # changes whenever the server may have lost what it has shown
        self.monitor: Monitor[Any]

    def bound(self, number: int) -> Position | None:
        """Return a position that includes everything a completed read has seen.

        `number` is `read_until` at its completion. None if no measurement has begun since then.
        PRIMARY if none can tell, for example because the server was restarted in between.
        """
        if number < self.epoch:
            return PRIMARY
        return self.last_bound if self.monitor.done > number else None

    def read_until(self, epoch: int) -> int:
        """Return the number for `bound` of reads that began in this epoch and are completed."""
        return self.monitor.begun if epoch == self.epoch else -1

    async def measured_bound(self, number: int) -> Position:
        """Measure, and return the bound. PRIMARY if that fails."""
        try:
            await self.monitor.measure()
        except OSError:
            return PRIMARY
        return self.bound(number) or PRIMARY

    def _forget_reads(self) -> None:
        # A standby that crashed can come back with an earlier state than it had shown.
        self.monitor.begun += 1
        self.epoch = self.monitor.begun


class _Sample(NamedTuple):
    at: float  # on the monotonic clock
    lsn: int


class Primary(Server):
    """The primary: the current term, and how far it was when.

    `oldest` is the position that a replica must have reached to be not more than `max_lag` behind,
    and `oldest_at` its time. While the primary is unreachable both stay as they are.
    """

    def __init__(
        self, connect: Connect, discard: Callable[[], None], timing: Timing, max_lag: float
    ) -> None:
        super().__init__()
        self.on_measured: Callable[[], None] = _nothing
        self._discard = discard
        self.term: str | None = None
        self.timeline = 0
        self.oldest = 0
        self.oldest_at = timing.clock()
        self._max_lag = max_lag
        self._samples: deque[_Sample] = deque()
        self._is_failing = False
        self.monitor = Monitor(
            connect,
            _measure_primary,
            timing,
            on_connected=self._forget_reads,
            on_measured=self._on_measured,
            on_failed=self._on_failed,
        )

    def reached_at(self, position: Position | None, now: float) -> float:
        """Return when it last had no more than this, on the monotonic clock. 0 if not known."""
        if position is None or position.term != self.term or not self._samples:
            return 0
        if position.lsn >= self._samples[-1].lsn:
            return now
        return max((sample.at for sample in self._samples if sample.lsn <= position.lsn), default=0)

    def check_usable(self) -> None:
        """Allow every connection."""

    async def check_connection(self, driver: asyncpg.Connection) -> None:
        """Replace all connections if a new one of the pool leads to another server.

        The position after a write must be that of the server with the write.
        """
        identity = await driver.fetchval(SERVER_IDENTITY)
        if self.identity not in {None, identity}:
            self.identity = None
            self._forget_reads()
            self.monitor.reconnect()
            self._discard()

    def _on_measured(self, row: Any) -> None:
        self._is_failing = False
        self.identity = row["server"]
        term = _term(row)
        if term != self.term:
            log.info("read positions are of a new term", term=term, lineage=row["lineage"])
            self.term = term
            self.timeline = int(row["lineage"].split("/")[1], 16)
            self._samples.clear()
        now = self.monitor.begun_at
        self._samples.append(_Sample(now, row["lsn"]))
        while len(self._samples) > 1 and self._samples[1].at <= now - self._max_lag:
            self._samples.popleft()
        self.oldest_at, self.oldest = self._samples[0]
        self.last_bound = Position(term, row["lsn"])
        self.on_measured()

    def _on_failed(self, error: Exception) -> None:
        if not self._is_failing:
            log.warning("the primary's position is unknown", cause=summarize(error))
        self._is_failing = True


class Replica(Server):
    """A standby with its pool of connections.

    Its position never goes back: if a server shows an earlier one, it is not used until it has
    caught up. All connections of the pool lead to the server of the monitor's connection.
    """

    def __init__(
        self, name: str, backend: Backend, primary: Primary, connect: Connect, timing: Timing
    ) -> None:
        super().__init__()
        self.name = name
        self.backend = backend
        self.position: Position | None = None
        self.reason: str | None = "it was not measured yet"  # why it is not used
        self._primary = primary
        self._timing = timing
        self._reached_at = timing.clock()
        self._longest_wait = timing.replica_answer
        self._verified: str | None = None  # the identity for which the position was measured
        self.monitor = Monitor(
            connect,
            _measure_replica,
            timing,
            on_connected=self._forget_reads,
            on_measured=self._on_measured,
            on_failed=self._on_failed,
        )

    @property
    def is_used(self) -> bool:
        """Whether it answers queries that need no later position than `read_max_lag` allows."""
        term = self._primary.term
        return term is not None and self.can_read(Position(term, self._primary.oldest))

    @property
    def lag(self) -> float:
        """How many seconds it is behind the primary, as far as the primary's position is known."""
        # Positions are kept for `read_max_lag`: a replica that is further behind keeps its time.
        now = self._timing.clock()
        self._reached_at = max(self._reached_at, self._primary.reached_at(self.position, now))
        return now - self._reached_at

    @property
    def pool(self) -> PostgresPool:
        return cast("PostgresPool", self.backend.engine.sync_engine.pool)

    def can_read(self, wanted: Position) -> bool:
        return (
            self.reason is None and self.position is not None and self.position.has_reached(wanted)
        )

    async def close(self) -> None:
        await self.backend.reader.close()
        await greenlet_spawn(self.pool.dispose)

    def check_usable(self) -> None:
        """Raise ReplicaUnusableError instead of connecting to a server that may not answer."""
        if self.reason is not None:
            raise ReplicaUnusableError(self.reason)

    async def check_connection(self, driver: asyncpg.Connection) -> None:
        """Raise ReplicaUnusableError unless a new connection leads to the measured server."""
        row = await _measure_replica(driver)
        self.check_usable()
        if row["server"] != self.identity or not self.monitor.is_connected:
            self.monitor.reconnect()
            raise ReplicaUnusableError("its address leads to another server")
        if reason := self._flaw(row):
            self.monitor.wake()
            raise ReplicaUnusableError(reason)
        # A read that waits longer for a migration that is being replayed is sent to the primary.
        await driver.execute(f"SET lock_timeout = {round(self._longest_wait * 1000)}")

    def _on_measured(self, row: Any) -> None:
        if row["server"] != self.identity:
            if self.identity is not None:
                self._forget_reads()
            self.identity = row["server"]
            self._stop()
        self.last_bound = PRIMARY
        if reason := self._flaw(row):
            self._skip(reason)
            return
        # A standby that receives nothing keeps its position: it may follow another timeline.
        if row["timeline"] == self._primary.timeline:
            replayed = row["replayed"]
            # The transaction that is being replayed can be visible before the position includes
            # it. A bound above the position includes it, because positions are those of records.
            is_idle = row["received"] == replayed
            self.last_bound = Position(_term(row), replayed if is_idle else replayed + 1)
            self.position = Position(_term(row), replayed)
            self._verified = self.identity
        if self._verified == self.identity:
            self._use()

    def _flaw(self, row: Any) -> str | None:
        """Return why the server cannot be used, also for reads that it could serve before."""
        if not row["is_standby"]:
            return "it is not a standby"
        if row["replayed"] is None:
            return "it has no position in the log"
        if not row["sees_timeline"]:
            return "its role lacks the privileges of pg_read_all_stats"
        if row["name"] is None or _term(row) != self._primary.term:
            return "it does not follow the primary"
        if row["timeline"] not in {None, self._primary.timeline}:
            return "it is on another timeline than the primary"
        position = self.position
        if position and position.term == _term(row) and row["replayed"] < position.lsn:
            return "it is behind what was read from it"
        return None

    def _on_failed(self, error: Exception) -> None:
        self._skip(str(error) if isinstance(error, ReplicaUnusableError) else type(error).__name__)
        self.pool.give_up()

    def _skip(self, reason: str) -> None:
        if self.reason != reason:
            log.warning("a replica is skipped", replica=self.name, reason=reason)
        self._stop(reason)

    def _stop(self, reason: str = "its position is unknown") -> None:
        if self.reason is None:
            self.pool.discard()  # connections in use are closed after their statement
        self.reason = reason

    def _use(self) -> None:
        if self.reason is not None:
            log.info("a replica is used", replica=self.name)
        self.reason = None


def _nothing() -> None:
    pass


def _term(row: Any) -> str:
    return f"{row['number']:08x}-{row['name']}"


async def _measure_primary(driver: asyncpg.Connection) -> Any:
    row = await driver.fetchrow(PRIMARY_POSITION)
    if not row["is_standby"] and row["lineage"] != row["current_lineage"]:
        # The first start, a promotion, or a copy of the database in another cluster.
        await driver.execute(ADD_PRIMARY_TERM, token_hex(_NAME_BYTES), row["current_lineage"])
        row = await driver.fetchrow(PRIMARY_POSITION)
    if row["is_standby"]:
        raise StandbyError("the database is a standby")
    return row


async def _measure_replica(driver: asyncpg.Connection) -> Any:
    return await driver.fetchrow(REPLICA_POSITION)
