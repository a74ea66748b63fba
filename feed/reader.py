"""Reads the table of events, in autocommit."""

from collections.abc import Sequence
from typing import Any, Final

from db.engine import Database
from db.filters import EventFilter
from db.prepared import PreparedStatement
from db.statements.events import (
    CURRENT_EPOCH,
    EVENT_BY_ID,
    EVENTS_BY_ID,
    EVENTS_FROM,
    EVENTS_UNTIL,
    NEWEST_ERASURE,
    NEWEST_EVENT,
    anchors_after,
    events_between,
)
from feed.anchors import Anchor, InvalidAnchor, verify
from feed.options import DEFAULT, FeedOptions

Event = Any  # a row with the columns of the table and the epoch

ALL_EVENTS: Final = EventFilter()
_FROM: Final = PreparedStatement(EVENTS_FROM)
_UNTIL: Final = PreparedStatement(EVENTS_UNTIL)
_BY_ID: Final = PreparedStatement(EVENT_BY_ID)
_NEWEST: Final = PreparedStatement(NEWEST_EVENT)
_NEWEST_ERASURE: Final = PreparedStatement(NEWEST_ERASURE)


class EventReader:
    """Reads events. Each read releases its connection before it returns."""

    def __init__(self, database: Database, options: FeedOptions = DEFAULT) -> None:
        self.page_size = options.page_size
        self._timeout = options.read
        self._database = database
        self._reader = database.reader

    async def after(self, anchor: Anchor | None) -> Sequence[Event]:
        """Return the next visible events, including those above gaps. None is the beginning.

        Raises InvalidAnchor if the event of the anchor is missing.
        """
        if anchor is None:
            return await self._fetch(_FROM, first=0, limit=self.page_size)
        # The statement also reads the event of the anchor, so that both have the same history.
        rows = await self._fetch(_FROM, first=anchor.id, limit=self.page_size + 1)
        if not _starts_at(anchor, rows):
            await self._database.check_primary()
            rows = await self._fetch(_FROM, first=anchor.id, limit=self.page_size + 1)
        if not _starts_at(anchor, rows):
            raise InvalidAnchor
        return rows[1:]

    async def check(self, anchor: Anchor) -> None:
        load = self._reader.lookup(EVENTS_BY_ID).load
        await verify([anchor], load, self.epoch, self._database.check_primary)

    async def missing(self, events: Sequence[Event]) -> Sequence[int]:
        """Return the ids of events that do not exist any more, or are different ones."""
        if not events:
            return ()
        if await self._missing(events):
            await self._database.check_primary()
        return await self._missing(events)

    async def _missing(self, events: Sequence[Event]) -> Sequence[int]:
        found = await self._reader.lookup(EVENTS_BY_ID).load([event.id for event in events])
        pairs = zip(events, found, strict=True)
        return [event.id for event, now in pairs if not Anchor.of(event).matches(now)]

    async def epoch(self) -> str:
        [row] = await self._fetch(CURRENT_EPOCH)
        epoch: str = row.epoch
        return epoch

    async def between(
        self, after: int, until: int, filter: EventFilter = ALL_EVENTS
    ) -> Sequence[Event]:
        if filter == ALL_EVENTS:
            return await self._fetch(_UNTIL, first=after + 1, until=until, limit=self.page_size)
        async with self._database.session() as session:
            found = await session.execute(events_between(after, until, filter, self.page_size))
        rows: Sequence[Event] = found.all()
        return rows

    async def anchors(self, after: int) -> Sequence[Anchor]:
        async with self._database.session() as session:
            found = await session.execute(anchors_after(after))
        return [Anchor.of(row) for row in found]

    async def newest(self) -> tuple[Anchor | None, frozenset[str]]:
        """Return the last visible event, and the transactions that may still commit a lower id."""
        rows = await self._fetch(_NEWEST)
        return _only(rows), await self._database.event_writers()

    async def newest_erasure(self) -> Anchor | None:
        """Return the last visible erasure, settled or not."""
        return _only(await self._fetch(_NEWEST_ERASURE))

    async def find(self, id_: int) -> Anchor | None:
        return _only(await self._fetch(_BY_ID, id=id_))

    async def _fetch(self, prepared: PreparedStatement, **values: Any) -> list[Any]:
        return await self._reader.fetch(prepared, values, seconds=self._timeout)


def _starts_at(anchor: Anchor, rows: Sequence[Event]) -> bool:
    return anchor.matches(rows[0] if rows else None)


def _only(rows: Sequence[Any]) -> Anchor | None:
    return Anchor.of(rows[0]) if rows else None
