"""The engine's connection pool: fair to waiters, and free of dead or outdated connections."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakSet

from sqlalchemy import AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, ManagesConnection

from db.errors import is_read_only, spoils_connection
from db.observation import DatabaseObserver, both
from db.sqlalchemy_adapter import Empty, empty_record, greenlet_spawn
from db.timing import DEFAULT
from db.waiter_queue import WaiterQueue

_ORIGIN: Final = "origin"


@dataclass(frozen=True, slots=True)
class _Origin:
    """The pool generation in which a connection was made, and the time on the monotonic clock."""

    generation: int
    made: float


def _origin_of(connection: ManagesConnection) -> _Origin | None:
    try:
        origin: _Origin | None = connection.info.get(_ORIGIN)
    except NotImplementedError:  # SQLAlchemy's wrapper of an engine's first connection
        return None
    return origin


class PoolUsage(NamedTuple):
    """Numbers of connections, and of callers that wait for one."""

    used: int
    idle: int
    most: int
    waiting: int


class FairPool(AsyncAdaptedQueuePool):
    """A pool that serves waiters in FIFO order.

    `acquire` and `release` are for single statements. A released connection is kept as it is for
    the next `acquire`, because checking it in and out costs an eighth of a short read. It is
    checked in as soon as a caller of `connect` needs it.

    A connection is replaced before its next use if it is older than `max_age` seconds, or was made
    before the last `discard`. SQLAlchemy's own mechanisms compare wall-clock times, which can go
    back.
    """

    _queue_class = WaiterQueue
    _pool: WaiterQueue

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.max_age = inf
        self.timing = DEFAULT
        self.on_discard: Callable[[], None] | None = None
        self.progress = 0  # number of connections that were returned intact
        self._generation = 0
        self._discarded_at = -inf
        self._discarding: asyncio.TimerHandle | None = None
        self._kept: list[tuple[PoolProxiedConnection, float]] = []
        self._is_disposed = False

    def recreate(self) -> "FairPool":
        made = super().recreate()
        assert isinstance(made, FairPool)  # the same class as this one
        made.max_age, made.on_discard = self.max_age, self.on_discard
        made.timing = self.timing
        if observer := self._pool.observer:
            made.observe(observer)
        return made

    def observe(self, observer: DatabaseObserver) -> None:
        """Report waits for a connection."""
        self._pool.observer = both(self._pool.observer, observer)

    async def acquire(self) -> PoolProxiedConnection:
        """Check out a connection like `connect`, but without a greenlet if none is needed.

        A greenlet would double the cost.
        """
        lent = self._take_kept()
        if lent is not None:
            return lent
        if self.is_exhausted:
            try:
                given = await self._pool.wait(self._timeout, self.release)
            except Empty:
                message = f"all connections were in use for {self._timeout:g} seconds"
                raise PoolTimeoutError(message) from None
            if isinstance(given, PoolProxiedConnection):
                return given
            self._pool.put_on_top(given)
        if self.is_ready():
            with suppress(MissingGreenlet):
                return self.connect()
        return await greenlet_spawn(self.connect)

    def _dec_overflow(self) -> Literal[True]:
        if self._pool.is_waited_for:
            self._pool.put_nowait(empty_record(self))
            return True
        return super()._dec_overflow()

    def release(self, lent: PoolProxiedConnection) -> None:
        self.progress += 1
        now = self.timing.clock()
        if self._is_outdated(lent, now):
            lent.close()
        elif self._pool.lend(lent):
            pass
        elif self._is_disposed or self._pool.is_waited_for:
            lent.close()
        else:
            self._kept.append((lent, now))

    def discard(self) -> None:
        """Replace all current connections. Those in use are replaced after their release."""
        self._generation += 1
        self.check_in()
        if self.on_discard:
            self.on_discard()

    def sort_out(self, error: BaseException) -> bool:
        """Return whether an error makes its connection unusable. The caller then closes it.

        If the server became read-only, all connections are discarded, because another server may be
        the primary now.
        """
        if is_read_only(error):
            self._discard_now_or_soon()
            return True
        return spoils_connection(error)

    def _discard_now_or_soon(self) -> None:
        wait = self._discarded_at + self.timing.discard_interval - self.timing.clock()
        if wait <= 0:
            self._discarded_at = self.timing.clock()
            self.discard()
        elif self._discarding is None:
            # Connections made after the last `discard` may lead to the same server.
            self._discarding = asyncio.get_running_loop().call_later(wait, self._discard_at_last)

    def _discard_at_last(self) -> None:
        self._discarding = None
        self._discarded_at = self.timing.clock()
        self.discard()

    def discard_peers(self, lent: PoolProxiedConnection) -> None:
        """Discard all connections of this connection's generation, unless that was already done."""
        origin = _origin_of(lent)
        if origin is None or origin.generation == self._generation:
            self.discard()

    def _invalidate(
        self,
        connection: PoolProxiedConnection,
        exception: BaseException | None = None,
        _checkin: bool = True,  # noqa: FBT001, FBT002 - SQLAlchemy's signature
    ) -> None:
        self.discard_peers(connection)
        if _checkin and connection.is_valid:
            connection.invalidate(exception)

    def note_origin(self, entry: ConnectionPoolEntry) -> None:
        entry.info[_ORIGIN] = _Origin(self._generation, self.timing.clock())

    def is_outdated(self, connection: ManagesConnection) -> bool:
        return self._is_outdated(connection, self.timing.clock())

    def _is_outdated(self, connection: ManagesConnection, now: float) -> bool:
        origin = _origin_of(connection)
        return (
            origin is None
            or origin.generation != self._generation
            or now - origin.made > self.max_age
        )

    def usage(self) -> PoolUsage:
        idle = self._pool.open_items() + len(self._kept)
        return PoolUsage(self.checkedout(), idle, self.size(), self._pool.waiting())

    @property
    def is_exhausted(self) -> bool:
        """Whether a new caller has to wait for a connection that is in use."""
        return self._pool.empty() and self.checkedout() == self.size()

    def check_in(self) -> None:
        # A connection that is checked in is tested before its next use.
        while self._kept:
            self._kept.pop()[0].close()

    def checkedout(self) -> int:
        # Kept connections are not in use.
        return super().checkedout() - len(self._kept)

    def dispose(self) -> None:
        self._is_disposed = True
        if self._discarding:
            self._discarding.cancel()
        self.check_in()
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self._is_disposed:
            record.invalidate()  # no waiter will take it
        super()._do_return_conn(record)

    @property
    def is_disposed(self) -> bool:
        return self._is_disposed

    def is_closed(self, driver: Any) -> bool:  # noqa: ARG002 - for a file it is never closed
        """Return whether the connection was closed or lost. Does not ask the server."""
        return False

    def drop(self, driver: Any) -> None:
        """Close an idle connection without waiting, if the driver can do that."""

    def _do_get(self) -> ConnectionPoolEntry:
        if self._pool.empty() and self._kept:
            self._kept.pop()[0].close()
        return super()._do_get()

    def _take_kept(self) -> PoolProxiedConnection | None:
        """Return the last kept connection, or check all in and return None if it needs a test."""
        if not self._kept:
            return None
        lent, used = self._kept.pop()
        now = self.timing.clock()
        if (
            now - used < self.timing.trust_used
            and not self.is_closed(lent.driver_connection)
            and not self._is_outdated(lent, now)
        ):
            return lent
        lent.close()
        self.check_in()
        return None

    def is_ready(self) -> bool:
        """Return whether `connect` needs no await, and so no greenlet.

        Always false unless `watch` records when each connection was used.
        """
        entry = self._pool.next()
        if entry is None or entry.dbapi_connection is None or self.is_outdated(entry):
            return False
        return self.is_warm(entry) and not entry.driver_connection.is_closed()

    def note_use(self, entry: ConnectionPoolEntry) -> None:
        entry.info["used"] = self.timing.clock()

    def is_warm(self, entry: ConnectionPoolEntry) -> bool:
        used = entry.info.get("used", -inf)
        return bool(self.timing.clock() - used < self.timing.trust_used)


class PostgresPool(FairPool):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._drivers: WeakSet[Any] = WeakSet()

    def add(self, driver: Any) -> None:
        self._drivers.add(driver)

    def give_up(self) -> None:
        """Terminate all connections. Callers that wait for an answer get an error."""
        self.discard()
        for driver in list(self._drivers):
            driver.terminate()

    def leave(self, is_former: Callable[[Any], bool]) -> None:
        """Replace all connections, and terminate those of a former primary.

        What it answers to the statements that wait for it is void.
        """
        self.discard()
        for driver in filter(is_former, list(self._drivers)):
            driver.terminate()

    def hosts(self) -> set[Any]:
        """Return the hosts that open connections lead to."""
        return {driver.host for driver in self._drivers if not driver.is_closed()}

    def is_closed(self, driver: Any) -> bool:
        return bool(driver.is_closed())

    def drop(self, driver: Any) -> None:
        driver.terminate()
