"""The change feed: every event once, in the order of its id, to each who follows.

The table of events is the feed. A process reads what is new once, however many follow, and keeps
the latest in memory; whoever is further behind reads pages of the table until they have caught up.
Wake-ups are hints: without any, a slow poll finds what is new.

An id is given out before its transaction ends, so that a lower one can appear after a higher one.
What is `settled` has no such gap below it: either all ids up to there have appeared, or all who
could still commit the missing ones are gone.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, pairwise, takewhile
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog
from sqlalchemy import Row

from db.engine import Database, is_unreachable
from db.filters import EventFilter
from db.models import UserEventType
from db.statements import EVENTS_AFTER, LAST_EVENT_ID, event_ids, events_between

log = structlog.get_logger("roster")

Event = Row[Any]
T = TypeVar("T")

EVERYTHING: Final = EventFilter()
_SWITCHING_OFF: Final = frozenset({UserEventType.DEACTIVATED, UserEventType.DELETED})
_KEPT: Final = 1_000  # events in memory, for those who are almost up to date
_PAGE: Final = 500
_WINDOW: Final = 100_000  # how far back a gap is looked for when the feed begins
_GAP_SECONDS: Final = 0.02  # between two looks whether a gap has closed
_POLL_SECONDS: Final = {True: 0.1, False: 1.0}  # on SQLite, where other processes tell nothing
_QUIET_SECONDS: Final = 0.02  # at least between two notifications
# After each news, for each follower, and at most: what comes meanwhile goes out together. So a
# quiet feed tells at once, and a busy one leaves most of its process to those who write.
_REST_SECONDS: Final = 0.0005
_LONGEST_REST_SECONDS: Final = 0.04
_BUSY_REST_SECONDS: Final = 0.06  # where as many came at once as these
_BUSY_EVENTS: Final = 10
_RETRY_SECONDS: Final = 0.5
_SLICES: Final = 8  # in which followers are woken, so that a writer never waits for all of them


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids up to `until` are missing, and these transactions were running when that was seen."""

    until: int
    writers: frozenset[str]


class Feed:
    """One process's view of the events. It does nothing while nobody follows."""

    def __init__(self, database: Database) -> None:
        self.stopping = False
        self._database = database
        self._name = uuid4().hex
        self._settled: int | None = None
        self._gap: _Gap | None = None
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._kept_after = 0
        self._found: dict[tuple[int, EventFilter], list[Event]] = {}
        self._reading = asyncio.Lock()
        self._followers = 0
        self._watched: Counter[int] = Counter()
        self._switched_off: set[int] = set()
        self._woken = asyncio.Event()
        self._news = [asyncio.Event() for _ in range(_SLICES)]
        self._places = cycle(range(_SLICES))
        self._untold = False
        self._tasks: list[asyncio.Task[None]] = []
        self._retired: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None

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
        self.stopping = True
        self._announce()

    async def close(self) -> None:
        self.stop()
        self._retire()
        if self._telling:
            self._telling.cancel()
            self._retired.add(self._telling)
        await asyncio.gather(*self._retired, return_exceptions=True)

    async def settle(self) -> int:
        """Read what is new, and give the id up to which nothing can appear any more."""
        async with self._reading:
            if self._settled is None:
                self._settled = self._kept_after = await self._begin()
            return await self._advance(self._settled)

    async def horizon(self) -> int | None:
        """Give the id up to which a list may go, so that who follows from its end misses nothing.

        None where what can be seen is settled.
        """
        return None if self._database.is_sqlite else await self.settle()

    async def follow(
        self, after: int | None, filter: EventFilter
    ) -> AsyncGenerator[list[Event], None]:
        """Give every event that matches after an id, or from now on, for as long as the feed runs.

        They come as many at a time as there are, in order. While the database cannot be reached
        nothing comes; it goes on where it was.
        """
        with self._following():
            settled = await self._patiently(self.settle)
            known: frozenset[int] = frozenset()
            position = settled if after is None else after
            place = next(self._places)
            if after is None and self._gap:
                known = await self._patiently(lambda: self._unsettled(settled))
            while not self.stopping:
                settled = self._settled or settled
                if position < self._kept_after:
                    rows = await self._patiently(partial(self._read, position, settled, filter))
                    position = rows[-1].id if len(rows) == _PAGE else settled
                    news = None
                else:  # nothing is awaited in here, so that all this is of one moment
                    rows, news = self._since(position, filter), self._news[place]
                    position = max(position, settled)
                if known:
                    rows = [row for row in rows if row.id not in known]
                if rows:
                    yield rows
                if news:
                    await news.wait()  # which is set already if there were any while it yielded

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read, and for as long as the database cannot be reached, try again."""
        while True:
            try:
                return await read()
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _unsettled(self, settled: int) -> frozenset[int]:
        """Give the ids of those events that can be seen already, beyond a gap."""
        return frozenset(await self._ids(settled))

    def _since(self, position: int, filter: EventFilter) -> list[Event]:
        """Look through what is kept, once for all who are in one place and ask the same."""
        rows = self._found.get((position, filter))
        if rows is None:
            newest = takewhile(lambda row: row.id > position, reversed(self._kept))
            rows = [row for row in newest if filter.matches(row)][::-1]
            self._found[position, filter] = rows
        return rows

    async def _ids(self, after: int) -> Sequence[int]:
        async with self._database.session() as session:
            await self._database.begin_reading(session)
            return list(await session.scalars(event_ids(after)))

    async def _read_on(self, after: int) -> list[Event]:
        async with self._database.session() as session:
            await self._database.begin_reading(session)
            found = await session.execute(EVENTS_AFTER, {"after": after, "limit": _PAGE})
            return list(found.all())

    async def _read(self, after: int, until: int, filter: EventFilter) -> list[Event]:
        async with self._database.session() as session:
            await self._database.begin_reading(session)
            found = await session.execute(events_between(after, until, filter, _PAGE))
            return list(found.all())

    async def _begin(self) -> int:
        """Find where the feed stands; below there may be a gap, if somebody is writing now."""
        last, writers = await self._newest()
        if not writers:
            return last
        self._gap = _Gap(last, writers)
        first = max(0, last - _WINDOW)
        ids = [first, *(i for i in await self._ids(first) if i <= last)]
        return next((low for low, high in pairwise(ids) if high > low + 1), last)

    async def _newest(self) -> tuple[int, frozenset[str]]:
        """Give the last id that can be seen, and who may still commit a lower one."""
        async with self._database.session() as session:
            await self._database.begin_reading(session)
            last = (await session.execute(LAST_EVENT_ID)).scalar_one()
        return last, await self._database.event_writers()

    async def _advance(self, settled: int) -> int:
        while rows := await self._read_on(settled):
            whole = len(rows) if self._database.is_sqlite else _without_a_gap(settled, rows)
            settled = self._keep(rows[:whole], settled)
            if whole < len(rows):
                settled, closed = await self._close_gap(settled, rows[-1].id)
                if not closed:
                    break
            elif len(rows) < _PAGE:
                break
            elif not self._followers:
                settled = await self._pass_over(settled)
        return settled

    async def _pass_over(self, settled: int) -> int:
        """Leave unread what nobody follows, unless somebody is writing: then it is gone through."""
        last, writers = await self._newest()
        if writers:
            return settled
        self._gap = None
        self._kept.clear()
        self._kept_after = last
        return self._keep([], last)

    async def _close_gap(self, settled: int, last: int) -> tuple[int, bool]:
        """Pass over missing ids, if nobody is left who could commit them."""
        writers = await self._database.event_writers()
        if self._gap is None or self._gap.until <= settled:
            self._gap = _Gap(last, writers)
        if self._gap.writers & writers:
            return settled, False
        # All of them have ended: what they have committed can be seen, and the rest never will.
        until = self._gap.until
        self._gap = None
        while rows := await self._read(settled, until, EVERYTHING):
            settled = self._keep(rows, settled)
        return self._keep([], until), True

    def _keep(self, rows: Sequence[Event], settled: int) -> int:
        """Take settled events in, and give the id up to which all are."""
        for row in rows:
            if len(self._kept) == _KEPT:
                self._kept_after = self._kept[0].id
            self._kept.append(row)
            if row.user_id in self._watched and row.type in _SWITCHING_OFF:
                self._switched_off.add(row.user_id)
        before, self._settled = self._settled, rows[-1].id if rows else settled
        if self._settled != before:
            self._announce()
        return self._settled

    def _announce(self) -> None:
        self._found.clear()
        self._call(0)

    def _call(self, place: int) -> None:
        """Wake one slice of those who follow, and the next when others have had a turn."""
        self._news[place].set()
        self._news[place] = asyncio.Event()
        if place + 1 < _SLICES:
            asyncio.get_running_loop().call_soon(self._call, place + 1)

    @contextmanager
    def _following(self) -> Iterator[None]:
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

    async def _run(self) -> None:
        """Read what is new when woken, and now and then without."""
        while True:
            self._woken.clear()
            pause = _POLL_SECONDS[self._database.is_sqlite]
            before = self._settled
            try:
                settled = await self.settle()
                if settled != before:
                    await asyncio.sleep(self._rest(settled - (before or settled)))
                pause = _GAP_SECONDS if self._gap else pause
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
                pause = _RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

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
            try:
                await self._database.notify(self._name)
            except Exception as error:  # noqa: BLE001 - the feed outlives whatever a database does
                _log_outage(error)
            await asyncio.sleep(_QUIET_SECONDS)


def _without_a_gap(settled: int, rows: Sequence[Event]) -> int:
    """Count the rows whose ids follow one another from `settled` on."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[1].id == pair[0], enumerate(rows, settled + 1))
    )


def _log_outage(error: Exception) -> None:
    if is_unreachable(error):
        log.warning("the feed waits for the database", cause=repr(error)[:200])
    else:
        log.error("the feed stumbled", exc_info=error)
