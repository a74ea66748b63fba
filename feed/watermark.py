"""The watermark: no event can appear at or below this id any more.

An id is assigned before its transaction ends, so a lower id can appear after a higher one. An event
is settled if there is no such gap below it: either all ids up to it have appeared, or all
transactions that could commit the missing ones have ended.

The position is an event, and each read verifies that it still exists. If the database was restored,
or lost commits in a failover, reading starts again at the new end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final

import structlog

from db.engine import Database
from db.models import UserEventType
from feed.anchors import Anchor, InvalidAnchor
from feed.delay_log import DelayLog
from feed.options import DEFAULT, FeedOptions
from feed.reader import Event, EventReader
from feed.survivors import SurvivorCheck

log = structlog.get_logger("roster")

_WINDOW: Final = 100_000  # ids that are searched for a gap when the feed begins


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids below `until` are missing. `writers` were open transactions when the gap was found."""

    until: Anchor
    writers: frozenset[str]
    since: float = field(default_factory=time.monotonic)


class WatermarkTracker:
    """Reads events in order and passes them on when they are settled. Calls must not overlap.

    `on_events` receives events and the new watermark. `on_skip` receives the new watermark if the
    events below it were not read. `on_erasure` is called as soon as an erasure is visible, settled
    or not, before `on_events`. `on_loss` is called if the event at the position no longer exists,
    before `on_skip`. `recent` returns the events that were passed on last.
    """

    def __init__(
        self,
        database: Database,
        on_events: Callable[[Sequence[Event], int], None],
        on_skip: Callable[[int], None],
        on_erasure: Callable[[], None],
        on_loss: Callable[[], None],
        *,
        recent: Callable[[], Sequence[Event]] = tuple,
        options: FeedOptions = DEFAULT,
    ) -> None:
        self.position: int | None = None  # None until the first read
        self.anchor: Anchor | None = None  # the event at the position; None is the beginning
        self._lost_at: Anchor | None = None  # the lost position, until a new one is found
        self._database = database
        self._events = EventReader(database, options)
        self._survivors = SurvivorCheck(database, self._events, recent)
        self._delays = DelayLog(database, options=options)
        self._gap: _Gap | None = None
        self._on_events = on_events
        self._on_skip = on_skip
        self._on_erasure = on_erasure
        self._on_loss = on_loss
        self._erasures: set[Anchor] = set()  # reported ones above the position

    @property
    def is_blocked(self) -> bool:
        """Whether missing ids above the position may still be committed."""
        position = self.position
        return position is not None and self._gap is not None and self._gap.until.id > position

    @property
    def holders(self) -> frozenset[str]:
        """The names of the transactions that block the watermark."""
        return self._gap.writers if self._gap and self.is_blocked else frozenset()

    @property
    def blocked_seconds(self) -> float:
        """Return how long the current gap has blocked the watermark; 0 without a gap."""
        return time.monotonic() - self._gap.since if self._gap and self.is_blocked else 0.0

    async def advance(self, *, followed: bool) -> int:
        """Read new events and return the watermark.

        Unless `followed`, events are skipped unread if possible.
        """
        try:
            return await self._advance(followed=followed)
        except InvalidAnchor:
            await self._survivors.run()
            self._reset()
        return await self._advance(followed=followed)

    async def _advance(self, *, followed: bool) -> int:
        if self.position is None:
            await self._start()
        assert self.position is not None
        while rows := await self._after_position():
            self._report_erasures(rows)
            settled = len(rows) if self._database.is_sqlite else _count_gapless(self.position, rows)
            if settled:
                self._emit(rows[:settled])
            if settled < len(rows):
                if not await self._close_gap(rows):
                    await self._find_newest_erasure(rows)
                    return self.position
            elif len(rows) < self._events.page_size:
                break
            elif not followed:
                await self._skip_unread()
        self._delays.unblocked()
        return self.position

    async def _after_position(self) -> Sequence[Event]:
        rows = await self._events.after(self.anchor)
        if await self._survivors.run():
            raise InvalidAnchor
        return rows

    async def _start(self) -> None:
        last, writers = await self._events.newest()
        if last and writers:
            self._gap = _Gap(last, writers)
            last = await self._event_below_first_gap(last)
        if self._lost_at:
            _log_loss(self._lost_at, last)
            self._lost_at = None
        self._skip_to(last)

    def _reset(self) -> None:
        # The event at the position no longer exists, so reading starts again at the end.
        self._lost_at = self.anchor
        self.position = self.anchor = self._gap = None
        self._erasures.clear()
        self._delays.unblocked()
        self._on_loss()

    async def _event_below_first_gap(self, last: Anchor) -> Anchor | None:
        # The first missing id may still be committed.
        first = max(0, last.id - _WINDOW)
        ids = [anchor.id for anchor in await self._events.anchors(first) if anchor.id <= last.id]
        if first == 0:
            ids.insert(0, 0)
        low = next((low for low, high in pairwise(ids) if high > low + 1), last.id)
        return await self._events.find(low) if low else None

    async def _skip_unread(self) -> None:
        # An open transaction may commit an earlier event than the newest.
        last, writers = await self._events.newest()
        if not writers:
            self._gap = None
            self._skip_to(last)

    async def _close_gap(self, rows: Sequence[Event]) -> bool:
        """Skip missing ids that no transaction can commit any more. Return False if one can."""
        assert self.position is not None
        writers = await self._database.event_writers()
        if self._gap is None or self._gap.until.id <= self.position:
            self._gap = _Gap(Anchor.of(rows[-1]), writers)
        if holding := self._gap.writers & writers:
            await self._delays.blocked(holding)
            return False
        self._delays.unblocked()
        # All writers have ended: their events are visible, and the other ids never appear.
        until, self._gap = self._gap.until, None
        while self.position < until.id:
            rows = await self._events.between(self.position, until.id)
            if not await self._exists(rows, until):
                return False  # lost in a failover: new transactions can commit lower ids
            self._report_erasures(rows)
            self._emit(rows)
        return True

    async def _exists(self, rows: Sequence[Event], anchor: Anchor) -> bool:
        """Return whether the anchor exists in the history that `rows` were read from."""
        # The anchor is read after the rows. A lost event does not reappear.
        if rows and rows[-1].id == anchor.id:
            return anchor.matches(rows[-1])
        return len(rows) == self._events.page_size and await self._events.find(anchor.id) == anchor

    async def _find_newest_erasure(self, rows: Sequence[Event]) -> None:
        # After a full page of unsettled events, an erasure may not have been read.
        if len(rows) == self._events.page_size and (newest := await self._events.newest_erasure()):
            self._report({newest})

    def _report_erasures(self, rows: Sequence[Event]) -> None:
        self._report({Anchor.of(row) for row in rows if row.type is UserEventType.ERASED})

    def _report(self, erasures: set[Anchor]) -> None:
        new = {erasure for erasure in erasures if erasure.id > (self.position or 0)}
        if new - self._erasures:
            self._erasures |= new
            self._on_erasure()

    def _emit(self, rows: Sequence[Event]) -> None:
        self._move_to(Anchor.of(rows[-1]))
        self._on_events(rows, rows[-1].id)

    def _skip_to(self, anchor: Anchor | None) -> None:
        self._move_to(anchor)
        self._on_skip(anchor.id if anchor else 0)

    def _move_to(self, anchor: Anchor | None) -> None:
        self.anchor = anchor
        self.position = position = anchor.id if anchor else 0
        self._erasures = {erasure for erasure in self._erasures if erasure.id > position}


def _log_loss(before: Anchor, now: Anchor | None) -> None:
    newest = now.id if now else 0
    log.warning(
        "the event at the feed's position is gone: the database was restored or lost commits, or "
        "the feed's epoch was renewed; followers must start again from a list",
        position=before.id,
        new_position=newest,
        ids_back=before.id - newest,
    )


def _count_gapless(position: int, rows: Sequence[Event]) -> int:
    """Count the leading rows whose ids are consecutive after `position`."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[1].id == pair[0], enumerate(rows, position + 1))
    )
