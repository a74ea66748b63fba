"""Finds events that a failover lost below one that survived.

Ids are not in the order of commits. A standby that was promoted can have an event, and lack one
with a lower id that was committed later. The cursor of the survivor is valid, although its owner
has received an event that never happened. So after a promotion each process reads the events again
that it delivered last. If such an event is missing, a new epoch begins: all clients start again
from a list.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from db.engine import Database
from db.statements.events import CURRENT_EPOCH
from feed import epochs
from feed.reader import Event, EventReader

log = structlog.get_logger("roster")

_REASON: Final = "a failover lost events below others that survived"


class SurvivorCheck:
    """`recent` returns the events that this process has delivered last."""

    def __init__(
        self, database: Database, events: EventReader, recent: Callable[[], Sequence[Event]]
    ) -> None:
        self._database = database
        self._events = events
        self._recent = recent
        self._promotions = database.promotions

    async def run(self) -> bool:
        """Check the events once after each promotion. Returns whether a new epoch has begun."""
        promotions = self._database.promotions
        if promotions == self._promotions:
            return False
        recent = list(self._recent())
        lost = set(await self._events.missing(recent))
        survivors = [event.id for event in recent if event.id not in lost]
        is_below = bool(survivors) and any(id_ < survivors[-1] for id_ in lost)
        if is_below:
            await self._renew(recent[-1].epoch)
        self._promotions = promotions
        return is_below

    async def _renew(self, epoch: str) -> None:
        # Several processes find this at the same time: the first one renews the epoch.
        async with self._database.session() as session, session.transaction(queued=True):
            if await session.scalar(CURRENT_EPOCH.statement) == epoch:
                log.warning("a new epoch of the feed begins", reason=_REASON)
                await epochs.renew(session, now=datetime.now(UTC), reason=_REASON)
