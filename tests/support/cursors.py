"""Cursors of events, encoded and decoded without the API."""

from db.engine import Database
from db.statements.events import EVENTS_BY_ID
from graph.api.types.user_event import decode_cursor, encode_cursor
from tests.conftest import opened


async def cursor_at(source: Database | str, id_: int) -> str:
    """Returns the cursor of an event, which must exist."""
    if isinstance(source, str):
        async with opened(source) as database:
            return await cursor_at(database, id_)
    [event] = await source.reader.lookup(EVENTS_BY_ID).load([id_])
    assert event is not None
    return encode_cursor(event)


def id_at(cursor: str) -> int:
    return decode_cursor(cursor).id
