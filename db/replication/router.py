"""Which server answers the reads of an operation."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from db.replication.memory import CallerMemory
from db.replication.position import Position, latest
from db.replication.servers import Primary, Replica, Server
from db.timing import Timing

_SALT_BYTES: Final = 8


class ReadConsistency(StrEnum):
    """What reads on replicas guarantee to clients that send no positions."""

    CALLER = "caller"
    """A caller's reads show their earlier writes and reads in the same process."""
    TOKEN = "token"  # noqa: S105 - not a secret
    """Nothing. Only positions that clients send are taken into account."""


class Replicas:
    """The replicas of a database, and the choice between them and the primary."""

    def __init__(
        self,
        primary: Primary,
        replicas: Sequence[Replica],
        consistency: ReadConsistency,
        timing: Timing,
    ) -> None:
        self.primary = primary
        # A caller who has read on the primary wants its next position. The replicas are measured
        # after that, so that the caller soon reads on them again.
        primary.on_measured = self._wake
        self.replicas = replicas
        self._memory = (
            CallerMemory(primary, timing.clock) if consistency is ReadConsistency.CALLER else None
        )
        self._salt = token_bytes(_SALT_BYTES)
        self._chosen = 0
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self) -> None:
        servers: Iterable[Server] = (self.primary, *self.replicas)
        self._tasks = [asyncio.create_task(server.monitor.run()) for server in servers]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self.replicas:
            await replica.close()

    def choose(
        self, caller: str, wanted: Position | None, besides: Collection[Replica] = ()
    ) -> Replica | None:
        """Return the replica for an operation; None means the primary.

        `wanted` is the position that the client has sent.
        """
        server: Server | None = None
        if self._memory is not None:
            remembered, server = self._memory.wanted(caller)
            wanted = latest([wanted, remembered])
        term = self.primary.term
        if term is None or (wanted is not None and wanted.term != term):
            return None
        least = Position(term, max(self.primary.oldest, wanted.lsn if wanted else 0))
        able = [
            replica
            for replica in self.replicas
            if (server is None or replica is server)
            and replica.can_read(least)
            and replica not in besides
        ]
        if not able:
            self._wake()
            return None
        return self._preferred(caller, able) if len(able) > 1 else able[0]

    def note(self, caller: str, reads: dict[Server, int]) -> None:
        if self.primary in reads:
            self.primary.monitor.wake()
        if self._memory is not None and reads:
            self._memory.note(caller, reads)

    def note_delivery(self) -> None:
        if self._memory is not None:
            self._memory.note_delivery()

    def following(self, caller: str) -> AbstractContextManager[None]:
        return self._memory.following(caller) if self._memory is not None else nullcontext()

    def _preferred(self, caller: str, able: Sequence[Replica]) -> Replica:
        if self._memory is not None:
            # The same replica for the same caller, because what a read has seen has no position
            # until the next measurement. With a new one for each operation, concurrent operations
            # of a caller would send the next ones to the primary.
            return max(able, key=lambda replica: self._rank(caller, replica))
        self._chosen += 1
        start = self._chosen % len(able)
        return min([*able[start:], *able[:start]], key=lambda replica: replica.pool.checkedout())

    def _rank(self, caller: str, replica: Replica) -> bytes:
        text = f"{caller} {replica.name}".encode(errors="surrogatepass")
        return blake2b(text, key=self._salt).digest()

    def _wake(self) -> None:
        for replica in self.replicas:
            replica.monitor.wake()
