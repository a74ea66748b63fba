"""The change feed: every event once, in the order of its id, to each who follows.

The table of events is the feed. A process reads what is new once, however many follow, and keeps
the latest in memory (`feed/subscription.py`); whoever is further behind reads pages of the table
until they have caught up. Wake-ups are hints: without any, a slow poll finds what is new. Only what
is settled is given out (`feed/watermark.py`).
"""

import asyncio
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
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog

from db.engine import Database
from db.errors import is_unreachable
from db.filters import EventFilter
from db.models import UserEventType
from feed.anchors import Anchor, InvalidAnchor
from feed.reader import Event, EventPages
from feed.subscription import Place, Recent
from feed.watermark import Settling

log = structlog.get_logger("roster")

T = TypeVar("T")

_SWITCHING_OFF: Final = frozenset({UserEventType.DEACTIVATED, UserEventType.DELETED})
# Between two looks whether a gap has closed: at least, and as a share of how long it is open. One
# that closes soon is seen at once, and one that stays open for long is not looked at in vain.
_GAP_SECONDS: Final = 0.02
_GAP_SHARE: Final = 0.1
_POLL_SECONDS: Final = {True: 0.1, False: 1.0}  # on SQLite, where other processes tell nothing
_QUIET_SECONDS: Final = 0.02  # at least between two notifications
# After each news, for each follower, and at most: what comes meanwhile goes out together. So a
# quiet feed tells at once, and a busy one leaves most of its process to those who write.
_REST_SECONDS: Final = 0.0005
_LONGEST_REST_SECONDS: Final = 0.05
_BUSY_REST_SECONDS: Final = 0.075  # where as many came at once as these
_BUSY_EVENTS: Final = 10
_RETRY_SECONDS: Final = 0.5


class Feed:
    """One process's view of the events. It does nothing while nobody follows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = uuid4().hex
        self._pages = EventPages(database)
        self._recent = Recent()
        self._settling = Settling(
            database, self._keep, self._recent.begin_at, self._recent.drop, self._recent.lose
        )
        self._reading = asyncio.Lock()
        self._asked = self._answered = 0  # reads that were asked for, and up to which they are done
        self._followers = 0
        self._watched: Counter[int] = Counter()
        self._switched_off: set[int] = set()
        self._woken = asyncio.Event()
        self._untold = False
        self._tasks: list[asyncio.Task[None]] = []
        self._retired: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None

    @property
    def derived(self) -> dict[Hashable, Any]:
        """What followers have made of buffered events; cleared whenever those are dropped."""
        return self._recent.derived

    @property
    def stopping(self) -> bool:
        return self._recent.is_over

    @contextmanager
    def watching(self, user_id: int | None) -> Iterator[Callable[[], bool]]:
        """Give what tells whether a user was switched off, by any event given out meanwhile.

        For as long as somebody follows, that is. How the user stood before is not known here.
        """
        if user_id is None:
            yield lambda: False
            return
        self._watched[user_id] += 1
        try:
            yield lambda: user_id in self._switched_off
        finally:
            self._watched[user_id] -= 1
            if not self._watched[user_id]:
                del self._watched[user_id]
                self._switched_off.discard(user_id)

    def wake(self) -> None:
        """Say that events may have been committed: here at once, elsewhere by a notification."""
        self._woken.set()
        if self._database.is_sqlite:
            return
        self._untold = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    def stop(self) -> None:
        """End all that follow, for the process is going to end."""
        self._recent.end()

    async def close(self) -> None:
        self.stop()
        self._retire()
        if self._telling:
            self._telling.cancel()
            self._retired.add(self._telling)
        await asyncio.gather(*self._retired, return_exceptions=True)

    async def settle(self) -> int:
        """Read what is new, and return the watermark: below it nothing can appear any more.

        Calls that wait for the same lock share one read, which begins after each of them.
        """
        self._asked += 1
        ticket = self._asked
        async with self._reading:
            if self._answered < ticket or self._settling.position is None:
                await asyncio.sleep(0)  # in which fields of the same operation ask, too
                newest = self._asked
                await self._settling.advance(followed=self._followers > 0)
                self._answered = newest
            assert self._settling.position is not None
            return self._settling.position

    async def horizon(self) -> int | None:
        """Give the id up to which a list may go, so that who follows from its end misses nothing.

        None where what can be seen is settled.
        """
        return None if self._database.is_sqlite else await self.settle()

    async def follow(
        self, after: Anchor | int | None, filter: EventFilter
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Return every event that matches after an event, or from now on, while the feed runs.

        They come as many at a time as there are, in order. While the database cannot be reached
        nothing comes; it goes on where it was.
        """
        async with self.following(after, filter) as place:
            while not place.is_over:
                if rows := await place.read():
                    yield rows
                await place.news()

    @asynccontextmanager
    async def following(
        self, after: Anchor | int | None, filter: EventFilter
    ) -> AsyncIterator["Place"]:
        """Return a place behind an event, or at the end, for somebody who follows by themselves.

        An anchor is verified when the place is first read; an id alone is not, such as 0 for the
        beginning.
        """
        with self._counted():
            settled = await self._patiently(self.settle)
            history = self._recent.history
            known: frozenset[Anchor] = frozenset()
            if after is None and self._settling.is_held_up:
                # What can be seen already, beyond a gap, has happened before.
                known = frozenset(await self._patiently(lambda: self._pages.anchors(settled)))
            anchor = after if isinstance(after, Anchor) else None
            position = after.id if isinstance(after, Anchor) else after
            yield Place(
                self._recent,
                self._pages,
                self._patiently,
                filter,
                settled if position is None else position,
                history,
                anchor=anchor,
                known=known,
            )

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read, and for as long as the database cannot be reached, try again."""
        while True:
            try:
                return await read()
            except InvalidAnchor:
                raise
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
            await asyncio.sleep(_RETRY_SECONDS)

    def _keep(self, rows: Sequence[Event], until: int) -> None:
        for row in rows:
            if row.user_id in self._watched and row.type in _SWITCHING_OFF:
                self._switched_off.add(row.user_id)
        self._recent.add(rows, until)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._followers += 1
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._listen())]
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._retire()

    def _retire(self) -> None:
        for task in self._tasks:
            task.cancel()
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        self._tasks = []
        self._recent.drop()  # while nothing is read, no erasure is noticed

    async def _run(self) -> None:
        """Read what is new when woken, and now and then without."""
        while True:
            self._woken.clear()
            pause = _POLL_SECONDS[self._database.is_sqlite]
            before = self._settling.position
            try:
                settled = await self.settle()
                if settled != before:
                    await asyncio.sleep(self._rest(settled - (before or settled)))
                pause = min(pause, self._gap_pause()) if self._settling.is_held_up else pause
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
                pause = _RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _gap_pause(self) -> float:
        return max(_GAP_SECONDS, self._settling.held_seconds * _GAP_SHARE)

    def _rest(self, events: int) -> float:
        """Give the seconds to rest after so many events, about, at once."""
        longest = _BUSY_REST_SECONDS if events >= _BUSY_EVENTS else _LONGEST_REST_SECONDS
        return min(self._followers * _REST_SECONDS, longest)

    async def _listen(self) -> None:
        """Hear of what other processes commit; where that is impossible, the poll has to do."""
        while True:
            try:
                async with self._database.listening(self._heard) as lost:
                    self._woken.set()  # for what was said while nobody listened
                    await lost.wait()
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
            await asyncio.sleep(_RETRY_SECONDS)

    def _heard(self, sender: str) -> None:
        if sender != self._name:
            self._woken.set()

    async def _tell(self) -> None:
        while self._untold:
            self._untold = False
            pause = _QUIET_SECONDS
            try:
                await self._database.notify(self._name)
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
                self._untold = is_unreachable(error)  # then others hear of it when it is back
                pause = _RETRY_SECONDS
            await asyncio.sleep(pause)


def _log_outage(error: Exception) -> None:
    if is_unreachable(error):
        log.warning("the feed waits for the database", cause=repr(error)[:200])
    else:
        log.error("the feed stumbled", exc_info=error)
