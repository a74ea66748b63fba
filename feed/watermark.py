"""Up to where events are settled: nothing can appear below any more.

An id is given out before its transaction ends, so that a lower one can appear after a higher one.
What is settled has no such gap below it: either all ids up to there have appeared, or all who
could still commit the missing ones are gone.

The position is an event, and each read verifies that it is still there. If the database was
restored or lost commits in a failover, reading begins again at the new end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final

import structlog

from db.engine import Database
from db.models import UserEventType
from feed import reader
from feed.anchors import Anchor, InvalidAnchor
from feed.delays import DelayLog
from feed.reader import Event, EventPages

log = structlog.get_logger("roster")

_WINDOW: Final = 100_000  # how far back a gap is looked for when the feed begins


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids below `until` are missing, and these transactions were running when that was seen."""

    until: Anchor
    writers: frozenset[str]
    since: float = field(default_factory=time.monotonic)


class Settling:
    """Reads events in order and gives them on as they are settled; nobody may do so twice at once.

    `keep` is given events and the id up to which all are settled then; `skip` an id, where what
    is below was left unread. `erased` is called as soon as an erasure can be seen, settled or not,
    before `keep`; `lost` when the event at the position is gone, before `skip`.
    """

    def __init__(
        self,
        database: Database,
        keep: Callable[[Sequence[Event], int], None],
        skip: Callable[[int], None],
        erased: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.position: int | None = None  # until it has begun
        self._anchor: Anchor | None = None  # the event at the position; None is the beginning
        self._lost_at: Anchor | None = None  # the position before, while a new one is looked for
        self._database = database
        self._pages = EventPages(database)
        self._delays = DelayLog(database)
        self._gap: _Gap | None = None
        self._keep = keep
        self._skip = skip
        self._erased = erased
        self._lost = lost
        self._erasures: set[Anchor] = set()  # above the position, that `erased` was called for

    @property
    def is_held_up(self) -> bool:
        """Whether ids above the position are missing that may still be committed."""
        position = self.position
        return position is not None and self._gap is not None and self._gap.until.id > position

    @property
    def held_seconds(self) -> float:
        """How long the present gap has held up the feed; 0 without one."""
        return time.monotonic() - self._gap.since if self._gap and self.is_held_up else 0.0

    async def advance(self, *, followed: bool) -> int:
        """Read what is new, and give the id up to which all is settled.

        What nobody follows is left unread, where that is possible.
        """
        try:
            return await self._advance(followed=followed)
        except InvalidAnchor:
            self._forget_history()
        return await self._advance(followed=followed)

    async def _advance(self, *, followed: bool) -> int:
        if self.position is None:
            await self._begin()
        assert self.position is not None
        while rows := await self._pages.after(self._anchor):
            self._note_erasures(rows)
            whole = len(rows) if self._database.is_sqlite else _without_a_gap(self.position, rows)
            if whole:
                self._give(rows[:whole])
            if whole < len(rows):
                if not await self._close_gap(rows):
                    await self._look_for_erasures(rows)
                    return self.position
            elif len(rows) < reader.PAGE:
                break
            elif not followed:
                await self._pass_over()
        self._delays.end()
        return self.position

    async def _begin(self) -> None:
        last, writers = await self._pages.newest()
        if last and writers:
            self._gap = _Gap(last, writers)
            last = await self._below_the_first_gap(last)
        if self._lost_at:
            _log_loss(self._lost_at, last)
            self._lost_at = None
        self._pass_to(last)

    def _forget_history(self) -> None:
        """Begin again at the end, because the event at the position is gone."""
        self._lost_at = self._anchor
        self.position = self._anchor = self._gap = None
        self._erasures.clear()
        self._delays.end()
        self._lost()

    async def _below_the_first_gap(self, last: Anchor) -> Anchor | None:
        """Find the event before the first missing id, which somebody may be about to commit."""
        first = max(0, last.id - _WINDOW)
        ids = [anchor.id for anchor in await self._pages.anchors(first) if anchor.id <= last.id]
        if first == 0:
            ids.insert(0, 0)
        low = next((low for low, high in pairwise(ids) if high > low + 1), last.id)
        return await self._pages.find(low) if low else None

    async def _pass_over(self) -> None:
        """Leave unread what nobody follows, unless somebody is writing: then it is gone through."""
        last, writers = await self._pages.newest()
        if not writers:
            self._gap = None
            self._pass_to(last)

    async def _close_gap(self, rows: Sequence[Event]) -> bool:
        """Pass over missing ids, if nobody is left who could commit them; tell whether it did."""
        assert self.position is not None
        writers = await self._database.event_writers()
        if self._gap is None or self._gap.until.id <= self.position:
            self._gap = _Gap(Anchor.of(rows[-1]), writers)
        if holding := self._gap.writers & writers:
            await self._delays.hold(holding)
            return False
        self._delays.end()
        # All of them have ended: what they have committed can be seen, and the rest never will.
        until, self._gap = self._gap.until, None
        while self.position < until.id:
            rows = await self._pages.between(self.position, until.id)
            if not await self._has(rows, until):
                return False  # a failover lost it, and new transactions can commit ids below
            self._note_erasures(rows)
            self._give(rows)
        return True

    async def _has(self, rows: Sequence[Event], anchor: Anchor) -> bool:
        """Return whether the history that a page of rows up to an anchor was read from has it.

        It is looked for later than they were read: a lost event does not come back.
        """
        if rows and rows[-1].id == anchor.id:
            return anchor.is_at(rows[-1])
        return len(rows) == reader.PAGE and await self._pages.find(anchor.id) == anchor

    async def _look_for_erasures(self, rows: Sequence[Event]) -> None:
        """Find an erasure that lies behind a full page of events which are not settled yet."""
        if len(rows) == reader.PAGE and (newest := await self._pages.newest_erasure()):
            self._note({newest})

    def _note_erasures(self, rows: Sequence[Event]) -> None:
        self._note({Anchor.of(row) for row in rows if row.type is UserEventType.ERASED})

    def _note(self, erasures: set[Anchor]) -> None:
        new = {erasure for erasure in erasures if erasure.id > (self.position or 0)}
        if new - self._erasures:
            self._erasures |= new
            self._erased()

    def _give(self, rows: Sequence[Event]) -> None:
        self._move_to(Anchor.of(rows[-1]))
        self._keep(rows, rows[-1].id)

    def _pass_to(self, anchor: Anchor | None) -> None:
        self._move_to(anchor)
        self._skip(anchor.id if anchor else 0)

    def _move_to(self, anchor: Anchor | None) -> None:
        self._anchor = anchor
        self.position = position = anchor.id if anchor else 0
        self._erasures = {erasure for erasure in self._erasures if erasure.id > position}


def _log_loss(before: Anchor, now: Anchor | None) -> None:
    newest = now.id if now else 0
    log.warning(
        "the event at the feed's position is gone: the database was restored or lost commits, or "
        "the feed's epoch was renewed; followers have to start again from a list",
        position=before.id,
        new_position=newest,
        ids_back=before.id - newest,
    )


def _without_a_gap(settled: int, rows: Sequence[Event]) -> int:
    """Count the rows whose ids follow one another from `settled` on."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[1].id == pair[0], enumerate(rows, settled + 1))
    )
