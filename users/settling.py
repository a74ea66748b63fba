"""Up to where events are settled: nothing can appear below any more.

An id is given out before its transaction ends, so that a lower one can appear after a higher one.
What is settled has no such gap below it: either all ids up to there have appeared, or all who
could still commit the missing ones are gone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final

from db.engine import Database
from db.models import UserEventType
from users import event_pages
from users.delays import DelayLog
from users.event_pages import Event, EventPages

_WINDOW: Final = 100_000  # how far back a gap is looked for when the feed begins


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids up to `until` are missing, and these transactions were running when that was seen."""

    until: int
    writers: frozenset[str]
    since: float = field(default_factory=time.monotonic)


class Settling:
    """Reads events in order and gives them on as they are settled; nobody may do so twice at once.

    `keep` is given events and the id up to which all are settled then; `skip` an id, where what
    is below was left unread. `erased` is called as soon as an erasure can be seen, settled or not,
    before `keep`.
    """

    def __init__(
        self,
        database: Database,
        keep: Callable[[Sequence[Event], int], None],
        skip: Callable[[int], None],
        erased: Callable[[], None],
    ) -> None:
        self.position: int | None = None  # until it has begun
        self._database = database
        self._pages = EventPages(database)
        self._delays = DelayLog(database)
        self._gap: _Gap | None = None
        self._keep = keep
        self._skip = skip
        self._erased = erased
        self._newest_erasure = 0

    @property
    def is_held_up(self) -> bool:
        """Whether ids above the position are missing that may still be committed."""
        position = self.position
        return position is not None and self._gap is not None and self._gap.until > position

    @property
    def held_seconds(self) -> float:
        """How long the present gap has held up the feed; 0 without one."""
        return time.monotonic() - self._gap.since if self._gap and self.is_held_up else 0.0

    async def advance(self, *, followed: bool) -> int:
        """Read what is new, and give the id up to which all is settled.

        What nobody follows is left unread, where that is possible.
        """
        if self.position is None:
            self._pass_to(await self._begin())
        assert self.position is not None
        while rows := await self._pages.after(self.position):
            self._note_erasures(rows)
            whole = len(rows) if self._database.is_sqlite else _without_a_gap(self.position, rows)
            if whole:
                self._give(rows[:whole])
            if whole < len(rows):
                if not await self._close_gap(rows[-1].id):
                    await self._look_for_erasures(rows)
                    return self.position
            elif len(rows) < event_pages.PAGE:
                break
            elif not followed:
                await self._pass_over()
        self._delays.end()
        return self.position

    async def _begin(self) -> int:
        """Find where the feed stands; below there may be a gap, if somebody is writing now."""
        last, writers = await self._pages.newest()
        if not writers:
            return last
        self._gap = _Gap(last, writers)
        first = max(0, last - _WINDOW)
        ids = [first, *(i for i in await self._pages.ids(first) if i <= last)]
        return next((low for low, high in pairwise(ids) if high > low + 1), last)

    async def _pass_over(self) -> None:
        """Leave unread what nobody follows, unless somebody is writing: then it is gone through."""
        last, writers = await self._pages.newest()
        if not writers:
            self._gap = None
            self._pass_to(last)

    async def _close_gap(self, last: int) -> bool:
        """Pass over missing ids, if nobody is left who could commit them; tell whether it did."""
        assert self.position is not None
        writers = await self._database.event_writers()
        if self._gap is None or self._gap.until <= self.position:
            self._gap = _Gap(last, writers)
        if holding := self._gap.writers & writers:
            await self._delays.hold(holding)
            return False
        self._delays.end()
        # All of them have ended: what they have committed can be seen, and the rest never will.
        until = self._gap.until
        self._gap = None
        while rows := await self._pages.between(self.position, until):
            self._note_erasures(rows)
            self._give(rows)
        self.position = until
        self._keep([], until)
        return True

    async def _look_for_erasures(self, rows: Sequence[Event]) -> None:
        """Find an erasure that lies behind a full page of events which are not settled yet."""
        if len(rows) == event_pages.PAGE:
            self._note_erasure(await self._pages.newest_erasure())

    def _note_erasures(self, rows: Sequence[Event]) -> None:
        erasures = [row.id for row in rows if row.type is UserEventType.ERASED]
        self._note_erasure(max(erasures, default=0))

    def _note_erasure(self, id_: int) -> None:
        if id_ > self._newest_erasure:
            self._newest_erasure = id_
            self._erased()

    def _give(self, rows: Sequence[Event]) -> None:
        self.position = rows[-1].id
        self._keep(rows, self.position)

    def _pass_to(self, position: int) -> None:
        self.position = position
        self._skip(position)


def _without_a_gap(settled: int, rows: Sequence[Event]) -> int:
    """Count the rows whose ids follow one another from `settled` on."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[1].id == pair[0], enumerate(rows, settled + 1))
    )
