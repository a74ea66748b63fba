"""The events up to now, for a reader that does not wait for more."""

from collections.abc import AsyncGenerator, Sequence

from db.engine import Database
from feed.anchors import Anchor
from feed.feed import Feed
from feed.reader import Event, EventReader


async def until_now(
    database: Database, after: Anchor | int
) -> AsyncGenerator[Sequence[Event], None]:
    """Yield the events after a position, up to the watermark at the call.

    Raises InvalidAnchor if the event at the position does not exist, and errors of the database.
    """
    end = await watermark(database)
    events = EventReader(database)
    position = after.id if isinstance(after, Anchor) else after
    while position < end.id:
        rows = await events.between(position, end.id)
        # After the read: an event that exists then existed before.
        await events.check(after if isinstance(after, Anchor) else end)
        if not rows:
            return
        yield rows
        after = Anchor.of(rows[-1])
        position = after.id
    if isinstance(after, Anchor):
        await events.check(after)


async def watermark(database: Database) -> Anchor:
    """Return the position of the watermark: later events are those that are not visible yet."""
    feed = Feed(database)
    try:
        return await feed.end()
    finally:
        await feed.close()
