"""Epochs of the feed. A cursor of an event is valid only in the epoch in which it was issued.

The newest row is the current epoch. Rows are only added, so the table shows when and why the feed
was renewed.
"""

from datetime import datetime
from secrets import token_hex

from sqlalchemy.ext.asyncio import AsyncSession

from db.statements.events import ADD_FEED_EPOCH

_ID_BYTES = 16


async def renew(session: AsyncSession, *, now: datetime, reason: str | None) -> int:
    """Start a new epoch and return its number. All cursors of events become invalid."""
    values = {"epoch_id": token_hex(_ID_BYTES), "began_at": now, "reason": reason}
    return int((await session.execute(ADD_FEED_EPOCH, values)).scalar_one())
