"""What each caller has seen in this process: the least that their next read must show."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from db.replication.position import PRIMARY, Position, latest
from db.replication.servers import Primary, Server


class _Seen:
    __slots__ = ("at", "position", "reads")

    def __init__(self) -> None:
        self.at = 0.0
        self.position: Position | None = None
        # The last read from each server, as the number of the last measurement that had begun. The
        # next measurement of the server is its bound. So reads need no statement of their own.
        self.reads: dict[Server, int] = {}


class CallerMemory:
    """Callers are forgotten when every replica that may be used has caught up with them."""

    def __init__(self, primary: Primary, clock: Callable[[], float]) -> None:
        self._primary = primary
        self._clock = clock
        self._callers: OrderedDict[str, _Seen] = OrderedDict()
        self._followers: Counter[str] = Counter()
        self._delivered = _Seen()  # what the feed has shown to all its followers

    def wanted(self, caller: str) -> tuple[Position | None, Server | None]:
        """Return the position that a read must have reached.

        If a server is returned too, the caller has seen something of it that has no position yet:
        the read must be there or on the primary.
        """
        position, server = self._wanted(self._callers.get(caller))
        if caller in self._followers:
            delivered, _ = self._wanted(self._delivered)
            position = latest([position, delivered])
        return position, server

    def note(self, caller: str, reads: Mapping[Server, int]) -> None:
        """Record that operations of the caller have read from these servers until now."""
        seen = self._callers.get(caller)
        if seen is None:
            seen = self._callers[caller] = _Seen()
        else:
            self._callers.move_to_end(caller)
            self._resolve(seen)
        seen.at = self._clock()
        seen.reads |= reads
        self._forget_old()

    @contextmanager
    def following(self, caller: str) -> Iterator[None]:
        """Within this context, the caller's reads show what the feed has delivered."""
        self._followers[caller] += 1
        try:
            yield
        finally:
            self._followers[caller] -= 1
            if not self._followers[caller]:
                del self._followers[caller]
            # The caller may still read what was delivered last.
            self.note(caller, {self._primary: self._primary.read_until(self._primary.epoch)})

    def note_delivery(self) -> None:
        self._delivered.reads = {self._primary: self._primary.read_until(self._primary.epoch)}

    def _wanted(self, seen: _Seen | None) -> tuple[Position | None, Server | None]:
        if seen is None:
            return None, None
        self._resolve(seen)
        if not seen.reads:
            return seen.position, None
        if len(seen.reads) > 1 or self._primary in seen.reads:
            return PRIMARY, None
        return seen.position, next(iter(seen.reads))

    def __len__(self) -> int:
        return len(self._callers)

    def _resolve(self, seen: _Seen) -> None:
        for server, number in list(seen.reads.items()):
            bound = server.bound(number)
            if bound is None:
                continue
            del seen.reads[server]
            # The primary shows everything that a replica has shown, also in an earlier term.
            before = None if server is self._primary else seen.position
            seen.position = latest([before, bound])

    def _forget_old(self) -> None:
        # A replica that is too far behind is not used (`Primary.oldest`). The others show what was
        # seen before then. At most two in a call, so that no call takes long.
        for _ in range(2):
            caller, seen = next(iter(self._callers.items()))
            if seen.at >= self._primary.oldest_at:
                break
            del self._callers[caller]
            if not self._callers:
                break
