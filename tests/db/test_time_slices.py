"""Time slices, measured with a clock that only computations advance."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from db import time_slices
from db.time_slices import FREE_ITERATIONS, SLICE_SECONDS, current_operation, pause_if_due


class Clock:
    """Advances only when something computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def compute(self, slices: float) -> None:
        self.now += slices * SLICE_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time_slices, "time", clock)
    return clock


@dataclass
class Caller:
    throttled_as: str


class Iterations:
    """Counts the iterations of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        asyncio.get_running_loop().call_soon(self._iterate)

    def _iterate(self) -> None:
        self.count += 1
        asyncio.get_running_loop().call_soon(self._iterate)


def computing(
    clock: Clock, name: str, steps: int, done: list[str], *, slices: float = 1
) -> Callable[[], Awaitable[None]]:
    async def compute() -> None:
        current_operation.set(Caller(name[0]))
        for _ in range(steps):
            await pause_if_due()
            clock.compute(slices)
            done.append(name)

    return compute


async def test_a_short_computation_never_pauses(clock: Clock) -> None:
    iterations = Iterations()
    await computing(clock, "a", 4, [], slices=0.2)()
    assert iterations.count == 0


async def test_the_loop_iterates_several_times_between_two_slices(clock: Clock) -> None:
    iterations, seen = Iterations(), []
    for _ in range(5):
        await pause_if_due()
        seen.append(iterations.count)
        clock.compute(1)
    between = [after - before for before, after in pairwise(seen)]
    assert all(count >= FREE_ITERATIONS for count in between), between


async def test_one_computation_runs_at_a_time(clock: Clock) -> None:
    iterations, steps = Iterations(), []

    async def compute() -> None:
        for _ in range(3):
            await pause_if_due()
            steps.append(iterations.count)
            clock.compute(1)

    await asyncio.gather(*(compute() for _ in range(10)))
    assert len(set(steps)) == 30  # no two steps in one iteration


async def test_callers_take_turns_however_many_computations_each_has(clock: Clock) -> None:
    done: list[str] = []
    many = [computing(clock, f"a{n}", 3, done)() for n in range(10)]
    await asyncio.gather(*many, computing(clock, "b", 3, done)())
    assert len(done) == 33
    assert done.index("b") <= 2
    assert len(done) - 1 - done[::-1].index("b") <= 7


async def test_a_cancelled_computation_takes_no_slice(clock: Clock) -> None:
    done: list[str] = []
    tasks = [asyncio.ensure_future(computing(clock, name, 1, done)()) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done == ["a", "c"]
    for _ in range(FREE_ITERATIONS + 1):
        await asyncio.sleep(0)
    iterations = Iterations()
    await pause_if_due()  # nothing else waits or has just run
    assert iterations.count == 0


def test_another_event_loop_has_slices_of_its_own(clock: Clock) -> None:
    async def leave_a_slice_behind() -> None:
        await pause_if_due()
        clock.compute(1)
        asyncio.ensure_future(pause_if_due())  # noqa: RUF006 - it is meant to be lost
        await asyncio.sleep(0)

    asyncio.run(leave_a_slice_behind())
    done: list[str] = []
    asyncio.run(computing(clock, "a", 3, done)())  # type: ignore[arg-type]
    assert done == ["a"] * 3


async def test_a_pause_that_is_not_due_any_more_ends_immediately(clock: Clock) -> None:
    await pause_if_due()
    clock.compute(1)
    slices = time_slices.time_slices()
    assert slices.is_due()
    for _ in range(2 * FREE_ITERATIONS):
        await asyncio.sleep(0)
    iterations = Iterations()
    await slices.pause()  # nothing would ever wake it
    assert iterations.count == 0
