"""Time slices for long computations: one at a time, a few milliseconds each.

A coroutine that computes for long blocks every other request. So it calls `pause_if_due` before
each step. That returns immediately until the current time slice is used up. Then it waits until the
event loop has served everything else a few times, and until the other computations have had their
slice. Slices are shared fairly between callers: many computations of one caller delay another
caller's by one slice each.

A step that cannot be divided runs to its end, but no other step follows it immediately.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, Protocol

from sqlalchemy import Result, Row

_ROWS: Final = 100  # rows that are converted in one step
SLICE_SECONDS: Final = 0.005
# Iterations of the event loop between two slices: about as many as a small request takes.
FREE_ITERATIONS: Final = 5
_WOKEN: Final = 16  # computations that are woken together, because each may be short


class Operation(Protocol):
    @property
    def throttled_as(self) -> str:
        """The caller who is charged for the operation's slices."""


# The operation that the current task computes for. Its caller is charged for the slices.
current_operation: ContextVar[Operation | None] = ContextVar("current_operation", default=None)


class TimeSlices:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.loop = loop
        self._clock = clock
        self._ends_at: float | None = None  # end of the running slice
        self._free_iterations = 0  # iterations left before the next slice
        # A heap ordered by place. Each further computation of a caller waits one place later than
        # the one before. A new caller starts at the place that was served last.
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._places: dict[str, int] = {}
        self._served = 0
        self._numbers = count()

    def is_due(self) -> bool:
        """Whether a computation has to pause now. The first call begins a slice."""
        if self._free_iterations:
            return True
        now = self._clock()
        if self._ends_at is None:
            self._ends_at = now + SLICE_SECONDS
            self.loop.call_soon(self._iterate)
            return False
        return now >= self._ends_at

    async def pause(self) -> None:
        """Wait for the next slice, unless the pause is no longer due.

        Callers alternate, and the computations of one caller keep their order.
        """
        if not self.is_due():
            return
        operation = current_operation.get()
        caller = operation.throttled_as if operation else ""
        place = max(self._served, self._places.get(caller, 0)) + 1
        self._places[caller] = place
        entry = (place, next(self._numbers))
        await self._wait(entry)
        while self.is_due():  # the others that were woken have used up the slice
            await self._wait(entry)
        self._served = max(self._served, place)

    def _wait(self, entry: tuple[int, int]) -> "asyncio.Future[None]":
        turn: asyncio.Future[None] = self.loop.create_future()
        heappush(self._waiting, (*entry, turn))
        return turn

    def _iterate(self) -> None:
        """Run once in each iteration of the loop, from the start of a slice until nothing waits."""
        if self._free_iterations:
            self._free_iterations -= 1
        elif self._ends_at is not None and self._clock() >= self._ends_at:
            self._free_iterations = FREE_ITERATIONS
            self._ends_at = None
        if not self._free_iterations:
            turns = [turn for _ in range(_WOKEN) if (turn := self._next())]
            if not turns:
                self._ends_at = None
                self._places.clear()
                return
            if self._ends_at is None:
                self._ends_at = self._clock() + SLICE_SECONDS
            for turn in turns:
                turn.set_result(None)
        self.loop.call_soon(self._iterate)

    def _next(self) -> "asyncio.Future[None] | None":
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():  # otherwise it was cancelled
                return turn
        return None


_current: TimeSlices | None = None


def time_slices() -> TimeSlices:
    # A process runs one event loop at a time.
    global _current  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    if _current is None or _current.loop is not loop:
        _current = TimeSlices(loop)
    return _current


async def pause_if_due() -> None:
    slices = time_slices()
    if slices.is_due():
        await slices.pause()


async def partitions(result: Result[Any]) -> AsyncIterator[Sequence[Row[Any]]]:
    for rows in result.partitions(_ROWS):
        await pause_if_due()
        yield rows
