"""The session of an operation that may read on a replica."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from db.prepared import PreparedStatement
from db.replication.position import Position, latest
from db.replication.router import Replicas
from db.replication.servers import Replica, Server
from db.session import Backend, Session

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")


class RoutedSession(Session):
    """Reads on the primary, and after `route_reads` on a replica that is far enough.

    All reads of an operation are on the same replica. From `read_primary` on, or after a failure of
    the replica, they are on the primary, which is never behind a replica.
    """

    def __init__(self, backend: Backend, replicas: Replicas) -> None:
        super().__init__(backend)
        self._replicas = replicas
        self._replica: Replica | None = None
        self._is_routing = False
        self._primary_epoch = replicas.primary.epoch
        self._caller = ""
        self._wanted: Position | None = None
        self._asked: set[Replica] = set()
        self._failed: set[Replica] = set()
        self._read_from: dict[Server, int] = {}  # with their epochs at the first read
        self._ended: dict[Server, int] | None = None

    def route_reads(self, caller: str, wanted: Position | None) -> None:
        """Read on a replica that has reached this position and what the caller has seen here."""
        self._is_routing, self._caller, self._wanted = True, caller, wanted

    def read_primary(self) -> None:
        self._is_routing, self._replica = False, None

    async def position(self) -> Position | None:
        """Return a position that includes everything that the operation has seen or written.

        It includes the position that the client has sent. PRIMARY if it cannot be determined.
        """
        primary = self._replicas.primary
        self._ended = ended = self._end()
        if primary in ended:  # it shows everything that the replicas have shown
            return await primary.measured_bound(ended[primary])
        bounds = [await server.measured_bound(number) for server, number in ended.items()]
        return latest([self._wanted, *bounds])

    def finish(self, caller: str) -> None:
        """Record for the caller's next operations what this one has seen."""
        self._replicas.note(caller, self._end() if self._ended is None else self._ended)

    def following(self, caller: str) -> AbstractContextManager[None]:
        return self._replicas.following(caller)

    def note_delivery(self) -> None:
        self._replicas.note_delivery()

    def _end(self) -> dict[Server, int]:
        """Return the servers that the operation has used, as `Server.bound` needs them."""
        if not self._is_routing:
            self._read_from.setdefault(self._replicas.primary, self._primary_epoch)
        return {server: server.read_until(epoch) for server, epoch in self._read_from.items()}

    async def fetch(self, prepared: PreparedStatement, /, **values: Any) -> Sequence[Any]:
        if not self._is_routing or self._is_in_block() or self._has_listeners():
            return await super().fetch(prepared, **values)
        async with self._lock.exclusive():
            return await self._read(lambda backend: backend.reader.fetch(prepared, values))

    def load(self, lookup: PreparedStatement, keys: Sequence[Any]) -> "Future[list[Any]]":
        if not self._is_routing or self._is_in_block() or self._has_listeners():
            return super().load(lookup, keys)
        return self._lock.shared(
            lambda wanted: asyncio.ensure_future(
                self._read(lambda backend: backend.reader.lookup(lookup).load(wanted))
            ),
            keys,
        )

    async def close(self) -> None:
        await super().close()
        for replica in self._asked:
            await replica.backend.reader.end_unwanted()

    async def _run_in_autocommit(self, method: Any, *arguments: Any, **options: Any) -> Any:
        async def run(backend: Backend) -> Any:
            self.bind = backend.autocommit
            try:
                return await super(RoutedSession, self)._run_in_autocommit(
                    method, *arguments, **options
                )
            finally:
                self.bind = self._backend.autocommit

        return await self._read(run)

    async def _read(self, run: Callable[[Backend], Awaitable[T]]) -> T:
        while (replica := self._current_replica()) is not None:
            epoch = replica.epoch
            try:
                found = await run(replica.backend)
            except Exception:  # noqa: BLE001 - the primary raises it too, unless it is the replica's
                # For example, a column of the last migration is missing.
                self._leave(replica)
            else:
                self._read_from.setdefault(replica, epoch)
                return found
        return await run(self._backend)

    def _current_replica(self) -> Replica | None:
        replica = self._replica
        if replica is not None and self._read_from.get(replica, replica.epoch) != replica.epoch:
            self._leave(replica)  # it was restarted, and may have lost what it has shown
        if self._is_routing and self._replica is None:
            self._replica = self._replicas.choose(self._caller, self._wanted, self._failed)
            self._is_routing = self._replica is not None
            self._asked |= {self._replica} if self._replica else set()
        return self._replica

    def _leave(self, replica: Replica) -> None:
        replica.monitor.wake()
        self._failed.add(replica)
        if self._replica is replica:
            self._replica = None
            if self._read_from:  # another replica may be behind this one
                self.read_primary()
