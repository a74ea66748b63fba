"""Logs transactions that hold back the feed."""

import time
from collections.abc import Callable, Collection
from typing import Final

import structlog

from db.engine import Database
from feed.options import DEFAULT, FeedOptions

log = structlog.get_logger("roster")

_AGAIN_SECONDS: Final = 60.0


class DelayLog:
    """Logs how long the feed is held back and by which transactions.

    It logs after 3 seconds, then every 60 seconds, and at the end.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.monotonic,
        options: FeedOptions = DEFAULT,
    ) -> None:
        self._database = database
        self._first = options.log_delay
        self._clock = clock
        self._since: float | None = None
        self._next = 0.0
        self._is_logged = False

    async def blocked(self, transactions: Collection[str]) -> None:
        now = self._clock()
        if self._since is None:
            self._since, self._next = now, now + self._first
        if now < self._next:
            return
        self._next, self._is_logged = now + _AGAIN_SECONDS, True
        log.warning(
            "an open transaction holds back the feed",
            seconds=round(now - self._since, 1),
            transactions=await self._database.describe_event_writers(transactions),
        )

    def unblocked(self) -> None:
        if self._since is not None and self._is_logged:
            seconds = round(self._clock() - self._since, 1)
            log.info("the feed is no longer held back", seconds=seconds)
        self._since, self._is_logged = None, False
