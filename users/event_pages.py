"""The events as they stand in the table, read without opening a transaction."""

from collections.abc import Sequence
from typing import Any, Final

from db.engine import Database
from db.filters import EventFilter
from db.query import Query
from db.statements import (
    EVENTS_AFTER,
    EVENTS_UNTIL,
    LAST_ERASURE_ID,
    LAST_EVENT_ID,
    event_ids,
    events_between,
)

Event = Any  # a row, with the columns of the events' table

PAGE: Final = 500  # events, at most, that are read at once
EVERYTHING: Final = EventFilter()
# The process's own reads go by the primary key and take milliseconds. One that is not answered is
# lost with its connection, and all who follow wait for it. A filter can take longer.
_READ_SECONDS: Final = 3.0
_AFTER: Final = Query(EVENTS_AFTER)
_UNTIL: Final = Query(EVENTS_UNTIL)
_LAST: Final = Query(LAST_EVENT_ID)
_LAST_ERASURE: Final = Query(LAST_ERASURE_ID)


class EventPages:
    """Reads events; each reading takes a connection, and gives it back before it is used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = database.reader

    async def after(self, after: int) -> Sequence[Event]:
        """Give the next events that can be seen by now, whatever is missing between them."""
        return await self._rows(_AFTER, after=after, limit=PAGE)

    async def between(
        self, after: int, until: int, filter: EventFilter = EVERYTHING
    ) -> Sequence[Event]:
        if filter == EVERYTHING:
            return await self._rows(_UNTIL, after=after, until=until, limit=PAGE)
        rows: Sequence[Event] = await self._reader.select(
            events_between(after, until, filter, PAGE)
        )
        return rows

    async def ids(self, after: int) -> Sequence[int]:
        return [row.id for row in await self._reader.select(event_ids(after))]

    async def newest(self) -> tuple[int, frozenset[str]]:
        """Give the last id that can be seen, and who may still commit a lower one."""
        [[last]] = await self._rows(_LAST)
        return last, await self._database.event_writers()

    async def newest_erasure(self) -> int:
        """Return the id of the last erasure, settled or not; 0 if there is none."""
        [[last]] = await self._rows(_LAST_ERASURE)
        return int(last)

    async def _rows(self, query: Query, **given: Any) -> list[Any]:
        return await self._reader.rows(query, given, seconds=_READ_SECONDS)
