"""The events as they stand in the table, read without opening a transaction."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, Select

from db.engine import Database
from db.filters import EventFilter
from db.statements import EVENTS_AFTER, LAST_EVENT_ID, event_ids, events_between

Event = Row[Any]

PAGE: Final = 500  # events, at most, that are read at once
EVERYTHING: Final = EventFilter()


class EventPages:
    """Reads events; each reading takes a connection, and gives it back before it is used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, after: int) -> Sequence[Event]:
        """Give the next events that can be seen by now, whatever is missing between them."""
        return await self._read(EVENTS_AFTER, {"after": after, "limit": PAGE})

    async def between(
        self, after: int, until: int, filter: EventFilter = EVERYTHING
    ) -> Sequence[Event]:
        return await self._read(events_between(after, until, filter, PAGE))

    async def ids(self, after: int) -> Sequence[int]:
        return [row.id for row in await self._read(event_ids(after))]

    async def newest(self) -> tuple[int, frozenset[str]]:
        """Give the last id that can be seen, and who may still commit a lower one."""
        [[last]] = await self._read(LAST_EVENT_ID)
        return last, await self._database.event_writers()

    async def _read(
        self, statement: Select[Any], parameters: dict[str, Any] | None = None
    ) -> Sequence[Row[Any]]:
        # No session of the ORM's: it would cost as much again as the connection does.
        async with self._database.engine.connect() as connection:
            if not self._database.is_sqlite:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            rows: Sequence[Row[Any]] = (await connection.execute(statement, parameters)).all()
            return rows
