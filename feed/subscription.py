"""Places in the feed: up to where somebody has had what happened, and what comes behind."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import cycle, takewhile
from typing import Any, Final, Protocol, TypeVar

from db.filters import EventFilter
from feed import reader
from feed.anchors import Anchor, InvalidAnchor
from feed.reader import Event, EventPages

T = TypeVar("T")

KEPT: Final = 1_000  # events in memory, for those who are almost up to date
_SLICES: Final = 8  # in which followers are woken, so that a writer never waits for all of them


class Recent:
    """The latest settled events, and who waits for the next."""

    def __init__(self) -> None:
        self.until = 0  # all events up to here are settled,
        self.after = 0  # and those above here are kept
        self.is_over = False  # for the process is going to end
        self.generation = 0  # of the buffer: events that were read in an earlier one may be erased
        self.history = 0  # how often the database turned out to have lost events of before
        self.derived: dict[Hashable, Any] = {}  # made from buffered events, dropped with them
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._found: dict[tuple[int, EventFilter], list[Event]] = {}
        self._news = [asyncio.Event() for _ in range(_SLICES)]
        self._slices = cycle(range(_SLICES))

    def add(self, events: Sequence[Event], until: int) -> None:
        for event in events:
            if len(self._events) == self._events.maxlen:
                self.after = self._events[0].id
            self._events.append(event)
        if until != self.until:
            self.until = until
            self._announce()

    def begin_at(self, position: int) -> None:
        """Keep what comes from here on, and nothing before."""
        self.drop()
        self.after = position
        self.add([], position)

    def lose(self) -> None:
        """End all places: the database has lost events, and gives their ids to others."""
        self.history += 1
        self.drop()
        self._announce()

    def drop(self) -> None:
        """Drop the buffered events, and what was derived from them.

        After an erasure the table is the only place without the erased values. A follower that is
        behind reads it instead.
        """
        self._events.clear()
        self._found.clear()
        self.derived.clear()
        self.after = self.until
        self.generation += 1

    def since(self, position: int, filter: EventFilter) -> list[Event]:
        """Look through what is kept, once for all who are in one place and ask the same."""
        found = self._found.get((position, filter))
        if found is None:
            newest = takewhile(lambda event: event.id > position, reversed(self._events))
            found = [event for event in newest if filter.matches(event)][::-1]
            self._found[position, filter] = found
        return found

    def end(self) -> None:
        self.is_over = True
        self._announce()

    def slice(self) -> int:
        return next(self._slices)

    def news(self, slice: int) -> asyncio.Event:
        """Give what is set when there is more than now."""
        return self._news[slice]

    def _announce(self) -> None:
        self._found.clear()
        self._wake(0)

    def _wake(self, slice: int) -> None:
        """Wake one slice of those who follow, and the next when others have had a turn."""
        self._news[slice].set()
        self._news[slice] = asyncio.Event()
        if slice + 1 < _SLICES:
            asyncio.get_running_loop().call_soon(self._wake, slice + 1)


class Patience(Protocol):
    async def __call__(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read, and for as long as the database cannot be reached, try again."""


class Place:
    """Where one follower stands.

    All that matches up to `position` has been given, except `known` events: a follower that begins
    now is not given events that could be seen before, even if they settle later.

    Events up to `replay_until` are read from the table and never from memory: what a user's
    erasure has removed from the table must not be replayed, even before this process hears of it.

    A place after an `anchor` verifies that its event exists. That can lie above what this process
    knows to be settled, if another process is further: until it gets there, each read verifies it.
    """

    def __init__(
        self,
        recent: Recent,
        pages: EventPages,
        patiently: Patience,
        filter: EventFilter,
        position: int,
        history: int,
        *,
        anchor: Anchor | None = None,
        known: frozenset[Anchor] = frozenset(),
    ) -> None:
        self.position = position
        self.is_replaying = False
        """Whether the last read came from the table: its results belong to this follower alone."""
        self._recent = recent
        self._pages = pages
        self._patiently = patiently
        self._filter = filter
        self._history = history
        self._anchor = anchor
        self._known = known
        self._known_until = max((known.id for known in known), default=0)
        self._replay_until = recent.until
        self._generation = recent.generation
        self._slice = recent.slice()
        self._news: asyncio.Event | None = None

    def another(self) -> "Place":
        """Give the same place for somebody else; only where it `is_plain`."""
        return Place(
            self._recent, self._pages, self._patiently, self._filter, self.position, self._history
        )

    @property
    def is_over(self) -> bool:
        return self._recent.is_over

    @property
    def is_plain(self) -> bool:
        """Whether what comes is the same for all who are here and ask the same."""
        return (
            self._anchor is None
            and self.position >= self._known_until
            and self._history == self._recent.history
        )

    @property
    def is_outdated(self) -> bool:
        """Whether a user was erased since the last read, whose values it may contain."""
        return self._generation != self._recent.generation

    def rewind(self, position: int) -> None:
        """Move back, so that what was read after `position` is read from the table once more."""
        self.position = position
        self._replay_until = max(self._replay_until, self._recent.until)
        self._news = None

    async def read(self) -> Sequence[Event]:
        """Give what comes next of what is settled, and move behind it; perhaps there is nothing.

        What is kept in memory is read without waiting. Raises InvalidAnchor when the database has
        lost events that came before: what follows may have their ids, and would be passed over.
        """
        if self._anchor:
            await self._verify(self._anchor)
        self._check_history()
        recent, position = self._recent, self.position
        self._generation = recent.generation
        self.is_replaying = position < max(recent.after, self._replay_until)
        if self.is_replaying:
            until = recent.until
            rows = await self._patiently(lambda: self._pages.between(position, until, self._filter))
            self._check_history()
            self.position = rows[-1].id if len(rows) == reader.PAGE else until
            self._news = None
        else:
            rows, self._news = recent.since(position, self._filter), recent.news(self._slice)
            self.position = max(position, recent.until)
        if self._known:
            rows = [r for r in rows if r.id > self._known_until or Anchor.of(r) not in self._known]
        return rows

    async def _verify(self, anchor: Anchor) -> None:
        settled = self._recent.until
        await self._patiently(lambda: self._pages.check(anchor))
        if settled >= anchor.id:
            self._anchor = None

    def _check_history(self) -> None:
        if self._history != self._recent.history:
            raise InvalidAnchor

    async def news(self) -> None:
        """Wait until there is more to read than there was at the last time."""
        if self._news:
            await self._news.wait()
