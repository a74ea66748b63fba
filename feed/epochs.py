"""Epochs of the feed: cursors of events are valid only in the epoch in which they were issued.

The newest row is the current epoch. Rows are only added, so that the table tells when the feed was
renewed and why.
"""

from datetime import datetime
from secrets import token_hex

from sqlalchemy.ext.asyncio import AsyncSession

from db.statements.events import ADD_FEED_EPOCH

_ID_BYTES = 16


async def renew(session: AsyncSession, *, now: datetime, reason: str | None) -> int:
    """Start a new epoch, which makes every cursor of an event invalid; return its number."""
    values = {"epoch_id": token_hex(_ID_BYTES), "began_at": now, "reason": reason}
    return int((await session.execute(ADD_FEED_EPOCH, values)).scalar_one())
