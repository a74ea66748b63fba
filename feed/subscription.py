"""The position of a subscriber in the feed, and the events after it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from db.filters import EventFilter
from feed.anchors import Anchor, InvalidAnchor
from feed.buffer import EventBuffer
from feed.reader import Event, EventReader

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Retry(Protocol):
    async def __call__(self, read: Callable[[], Awaitable[T]]) -> T:
        """Retry a read until the database can be reached."""


class FeedPosition:
    """The position of one subscriber.

    All matching events up to `position` have been delivered, except `known` events. These were
    visible before the subscription began. They are not delivered, even if they settle later.

    Events up to `_replay_until` are read from the table and never from memory. An erasure may have
    redacted them before this process detects it.

    A position after an `anchor` verifies that its event exists. The event can be above the
    watermark of this process, if another process is ahead. Each read verifies it until the
    watermark reaches it.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        events: EventReader,
        retry: Retry,
        filter: EventFilter,
        position: int,
        history: int,
        *,
        anchor: Anchor | None = None,
        known: frozenset[Anchor] = frozenset(),
    ) -> None:
        self.position = position
        self.is_replaying = False
        """Whether the last read came from the table. Its rows belong to this subscriber only."""
        self._buffer = buffer
        self._events = events
        self._retry = retry
        self._filter = filter
        self._history = history
        self._anchor = anchor
        self._known = known
        self._known_until = max((known.id for known in known), default=0)
        self._replay_until = buffer.watermark
        self._generation = buffer.generation
        self._slice = buffer.assign_slice()
        self._signal: asyncio.Event | None = None

    def copy(self) -> "FeedPosition":
        # Allowed only if `is_shareable`.
        return FeedPosition(
            self._buffer, self._events, self._retry, self._filter, self.position, self._history
        )

    @property
    def is_closed(self) -> bool:
        return self._buffer.is_closed

    @property
    def is_shareable(self) -> bool:
        """Whether all subscribers with this position and filter get the same events next."""
        return (
            self._anchor is None
            and self.position >= self._known_until
            and self._history == self._buffer.history
        )

    @property
    def is_stale(self) -> bool:
        """Whether a user was erased since the last read, which may contain erased values."""
        return self._generation != self._buffer.generation

    def rewind(self, position: int) -> None:
        """Move back, and read the events after `position` again from the table."""
        self.position = position
        self._replay_until = max(self._replay_until, self._buffer.watermark)
        self._signal = None

    async def read(self) -> Sequence[Event]:
        """Return the next settled events, possibly none, and advance the position.

        Buffered events are returned without waiting. Raises InvalidAnchor if the database has lost
        events: new events may have their ids, and would be skipped.
        """
        if self._anchor:
            await self._verify(self._anchor)
        self._check_history()
        buffer, position = self._buffer, self.position
        self._generation = buffer.generation
        self.is_replaying = position < max(buffer.start, self._replay_until)
        if self.is_replaying:
            until = buffer.watermark
            rows = await self._retry(lambda: self._events.between(position, until, self._filter))
            self._check_history()
            self.position = rows[-1].id if len(rows) == self._events.page_size else until
            self._signal = None
        else:
            rows = buffer.events_after(position, self._filter)
            self._signal = buffer.signal(self._slice)
            self.position = max(position, buffer.watermark)
        if self._known:
            rows = [r for r in rows if r.id > self._known_until or Anchor.of(r) not in self._known]
        return rows

    async def _verify(self, anchor: Anchor) -> None:
        watermark = self._buffer.watermark
        await self._retry(lambda: self._events.check(anchor))
        if watermark >= anchor.id:
            self._anchor = None

    def _check_history(self) -> None:
        if self._history != self._buffer.history:
            raise InvalidAnchor

    async def wait(self) -> None:
        """Wait until the buffer changes after the last read."""
        if self._signal:
            await self._signal.wait()
