"""Keeps the latest settled events in memory, for subscribers that are almost up to date."""

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from itertools import cycle, takewhile
from typing import Any, Final

from db.filters import EventFilter
from feed.options import DEFAULT, FeedOptions
from feed.reader import Event

# Subscribers are woken in slices, so that a writer never waits for all of them.
_SLICES: Final = 8


class EventBuffer:
    """Buffers settled events and wakes waiting subscribers."""

    def __init__(self, options: FeedOptions = DEFAULT) -> None:
        self.watermark = 0  # all events up to this id are settled
        self.start = 0  # settled events above this id are buffered
        self.is_closed = False  # the process is shutting down
        self.generation = 0  # events read in an earlier generation may be erased
        self.history = 0  # how many times the database has lost events
        self.derived: dict[Hashable, Any] = {}  # from buffered events, cleared with them
        self._events: deque[Event] = deque(maxlen=options.buffer_size)
        self._matches: dict[tuple[int, EventFilter], list[Event]] = {}
        self._signals = [asyncio.Event() for _ in range(_SLICES)]
        self._slices = cycle(range(_SLICES))

    def add(self, events: Sequence[Event], watermark: int) -> None:
        for event in events:
            if len(self._events) == self._events.maxlen:
                self.start = self._events[0].id
            self._events.append(event)
        if watermark != self.watermark:
            self.watermark = watermark
            self._wake_all()

    def recent(self) -> Sequence[Event]:
        return self._events

    def reset(self, position: int) -> None:
        self.clear()
        self.start = position
        self.add([], position)

    def invalidate(self) -> None:
        """End all positions. The database has lost events and assigns their ids again."""
        self.history += 1
        self.clear()
        self._wake_all()

    def clear(self) -> None:
        # After an erasure, the buffer still has the erased values, and the table does not.
        # Subscribers that are behind read the table.
        self._events.clear()
        self._matches.clear()
        self.derived.clear()
        self.start = self.watermark
        self.generation += 1

    def events_after(self, position: int, filter: EventFilter) -> list[Event]:
        # The list is computed once for all subscribers with the same position and filter.
        found = self._matches.get((position, filter))
        if found is None:
            newest = takewhile(lambda event: event.id > position, reversed(self._events))
            found = [event for event in newest if filter.matches(event)][::-1]
            self._matches[position, filter] = found
        return found

    def close(self) -> None:
        self.is_closed = True
        self._wake_all()

    def assign_slice(self) -> int:
        return next(self._slices)

    def signal(self, slice: int) -> asyncio.Event:
        """Return an event that is set at the next change of the buffer."""
        return self._signals[slice]

    def _wake_all(self) -> None:
        self._matches.clear()
        self._wake(0)

    def _wake(self, slice: int) -> None:
        # The next slice is woken in a later iteration of the event loop.
        self._signals[slice].set()
        self._signals[slice] = asyncio.Event()
        if slice + 1 < _SLICES:
            asyncio.get_running_loop().call_soon(self._wake, slice + 1)
