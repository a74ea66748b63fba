"""The change feed: delivers every event once to each subscriber, in the order of ids.

The table of events is the feed. A process reads new events once for all subscribers and buffers the
latest (`feed/buffer.py`). A subscriber that is further behind reads pages of the table until it has
caught up. Wake-ups are hints: a slow poll finds new events without them. Only events up to the
watermark are delivered (`feed/watermark.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from db.engine import Database
from db.filters import EventFilter
from db.models import UserEventType
from feed.anchors import Anchor, InvalidAnchor
from feed.buffer import EventBuffer
from feed.options import DEFAULT, FeedOptions
from feed.reader import Event, EventReader
from feed.subscription import FeedPosition
from feed.wake_ups import WakeUps, create_background_task, log_outage
from feed.watermark import WatermarkTracker

T = TypeVar("T")

_DEACTIVATING: Final = frozenset({UserEventType.DEACTIVATED, UserEventType.DELETED})
# The interval between two checks of a gap: a share of the time it has been open, with a minimum.
# The feed continues soon after a short gap, and checks a long one rarely.
_GAP_SECONDS: Final = 0.02
_GAP_SHARE: Final = 0.1
# The pause after new events, per subscriber, and its maximum. Events that are committed during the
# pause are delivered together. A quiet feed delivers immediately. A busy feed leaves most of the
# process's time to the writers.
_COALESCE_SECONDS: Final = 0.0005
_MAX_COALESCE_SECONDS: Final = 0.05
_BUSY_COALESCE_SECONDS: Final = 0.075  # maximum for _BUSY_EVENTS or more
_BUSY_EVENTS: Final = 10


class Feed:
    """A process's view of the events. It is idle without subscribers."""

    def __init__(self, database: Database, options: FeedOptions = DEFAULT) -> None:
        self._database = database
        usual = 0.1 if database.is_sqlite else 1.0
        self._poll_seconds = usual if options.poll is None else options.poll
        self._retry_seconds = options.retry
        self._events = EventReader(database, options)
        self._buffer = EventBuffer(options)
        self._tracker = WatermarkTracker(
            database,
            self._add,
            self._buffer.reset,
            self._buffer.clear,
            self._buffer.invalidate,
            recent=self._buffer.recent,
            options=options,
        )
        self._poll_lock = asyncio.Lock()
        self._polls_requested = self._polls_done = 0
        self._subscribers = 0
        self._complete_at = 0.0  # when the last read that left no event out began
        self._watched: Counter[int] = Counter()
        self._deactivated: set[int] = set()
        self._wake_ups = WakeUps(database, options.retry)
        self.wake = self._wake_ups.wake  # to be called after a commit
        self._tasks: list[asyncio.Task[None]] = []
        self._cancelled: set[asyncio.Task[None]] = set()

    @property
    def derived(self) -> dict[Hashable, Any]:
        return self._buffer.derived  # cleared together with the buffered events

    @property
    def is_stopping(self) -> bool:
        return self._buffer.is_closed

    @property
    def followers(self) -> int:
        """The number of subscribers."""
        return self._subscribers

    @property
    def lag(self) -> float:
        """Seconds: all events that were committed longer ago have been delivered.

        0 without subscribers.
        """
        return time.monotonic() - self._complete_at if self._subscribers else 0.0

    @property
    def held_back_seconds(self) -> float:
        """How long open transactions have held back events, in seconds; 0 if none do."""
        return self._tracker.blocked_seconds

    @property
    def holders(self) -> frozenset[str]:
        """The names of these transactions, for `Database.describe_event_writers`."""
        return self._tracker.holders

    @contextmanager
    def watch_deactivation(self, user_id: int | None) -> Iterator[Callable[[], bool]]:
        """Yield a function that returns whether a delivered event has deactivated the user.

        Only events within this context count, and only while the feed has a subscriber.
        """
        if user_id is None:
            yield lambda: False
            return
        self._watched[user_id] += 1
        try:
            yield lambda: user_id in self._deactivated
        finally:
            self._watched[user_id] -= 1
            if not self._watched[user_id]:
                del self._watched[user_id]
                self._deactivated.discard(user_id)

    def stop(self) -> None:
        self._buffer.close()

    async def close(self) -> None:
        self.stop()
        self._cancel_tasks()
        await self._wake_ups.close()
        await asyncio.gather(*self._cancelled, return_exceptions=True)

    async def poll(self) -> int:
        """Read new events and return the watermark: no event can appear at or below it any more.

        Concurrent calls share one read, which begins after each of these calls.
        """
        self._polls_requested += 1
        ticket = self._polls_requested
        async with self._poll_lock:
            if self._polls_done < ticket or self._tracker.position is None:
                await asyncio.sleep(0)  # lets other fields of the same operation join
                newest = self._polls_requested
                begun = time.monotonic()
                await self._tracker.advance(followed=self._subscribers > 0)
                self._polls_done = newest
                if not self._tracker.is_blocked:
                    self._complete_at = begun
            assert self._tracker.position is not None
            return self._tracker.position

    async def watermark(self) -> int | None:
        """Return the maximum id for lists of events, so that following any cursor is gapless.

        None means that all visible events are settled.
        """
        return None if self._database.is_sqlite else await self.poll()

    async def end(self) -> Anchor:
        """Return the position of the watermark: all changes that are not visible yet come later.

        Read it before a list of users. Following it then delivers every change that the list does
        not have.
        """
        await self.poll()
        return self._tracker.anchor or Anchor.beginning(await self._events.epoch())

    async def follow(
        self, after: Anchor | int | None, filter: EventFilter
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Yield matching events after an event, or from now on, in order and in batches.

        Nothing is yielded while the database is unreachable. Afterwards, the events continue
        without a gap.
        """
        async with self.subscribe(after, filter) as position:
            while not position.is_closed:
                if rows := await position.read():
                    yield rows
                await position.wait()

    @asynccontextmanager
    async def subscribe(
        self, after: Anchor | int | None, filter: EventFilter
    ) -> AsyncIterator[FeedPosition]:
        """Yield a position after an event, or at the end.

        An anchor is verified at the first read. A plain id, such as 0 for the beginning, is not
        verified.
        """
        with self._background_tasks():
            watermark = await self._retry(self.poll)
            history = self._buffer.history
            known: frozenset[Anchor] = frozenset()
            if after is None and self._tracker.is_blocked:
                # Visible events above a gap were committed before this call.
                known = frozenset(await self._retry(lambda: self._events.anchors(watermark)))
            anchor = after if isinstance(after, Anchor) else None
            position = after.id if isinstance(after, Anchor) else after
            yield FeedPosition(
                self._buffer,
                self._events,
                self._retry,
                filter,
                watermark if position is None else position,
                history,
                anchor=anchor,
                known=known,
            )

    async def _retry(self, read: Callable[[], Awaitable[T]]) -> T:
        # Database errors are logged and retried. InvalidAnchor ends the subscription.
        while True:
            try:
                return await read()
            except InvalidAnchor:
                raise
            except Exception as error:  # noqa: BLE001 - the loop survives any database error
                log_outage(error)
            await asyncio.sleep(self._retry_seconds)

    def _add(self, rows: Sequence[Event], watermark: int) -> None:
        for row in rows:
            if row.user_id in self._watched and row.type in _DEACTIVATING:
                self._deactivated.add(row.user_id)
        self._buffer.add(rows, watermark)

    @contextmanager
    def _background_tasks(self) -> Iterator[None]:
        self._subscribers += 1
        if not self._tasks:
            self._complete_at = time.monotonic()
            self._tasks = [
                create_background_task(self._poll_loop()),
                create_background_task(self._wake_ups.listen()),
            ]
        try:
            yield
        finally:
            self._subscribers -= 1
            if not self._subscribers:
                self._cancel_tasks()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)
        self._tasks = []
        self._buffer.clear()  # without polls, erasures are not detected

    async def _poll_loop(self) -> None:
        while True:
            self._wake_ups.clear()
            pause = self._poll_seconds
            before = self._tracker.position
            try:
                settled = await self.poll()
                if settled != before:
                    await asyncio.sleep(self._coalesce_pause(settled - (before or settled)))
                pause = min(pause, self._gap_pause()) if self._tracker.is_blocked else pause
            except Exception as error:  # noqa: BLE001 - the loop survives any database error
                log_outage(error)
                pause = self._retry_seconds
            await self._wake_ups.wait(pause)

    def _gap_pause(self) -> float:
        return max(_GAP_SECONDS, self._tracker.blocked_seconds * _GAP_SHARE)

    def _coalesce_pause(self, events: int) -> float:
        """Return the pause after so many new events, in seconds."""
        longest = _BUSY_COALESCE_SECONDS if events >= _BUSY_EVENTS else _MAX_COALESCE_SECONDS
        return min(self._subscribers * _COALESCE_SECONDS, longest)
