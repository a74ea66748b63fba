"""Time slices, measured with a clock that only computations advance."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise

import pytest

from db.time_slices import (
    FREE_ITERATIONS,
    SLICE_SECONDS,
    TimeSlices,
    current_operation,
    pause_if_due,
    time_slices,
)


class Clock:
    """Advances only when something computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def compute(self, slices: float) -> None:
        self.now += slices * SLICE_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def slices(clock: Clock) -> TimeSlices:
    return TimeSlices(asyncio.get_running_loop(), clock)


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


class Computations:
    """Records the name of each computation after each of its steps."""

    def __init__(self, slices: TimeSlices, clock: Clock) -> None:
        self._slices = slices
        self._clock = clock
        self.done: list[str] = []

    async def run(self, name: str, steps: int, *, length: float = 1) -> None:
        """Charge the steps to the first letter. `length` is that of a step, in slices."""
        current_operation.set(Caller(name[0]))
        for _ in range(steps):
            await self._slices.pause()
            self._clock.compute(length)
            self.done.append(name)


@pytest.fixture
def computations(slices: TimeSlices, clock: Clock) -> Computations:
    return Computations(slices, clock)


async def test_a_short_computation_never_pauses(computations: Computations) -> None:
    iterations = Iterations()
    await computations.run("a", 4, length=0.2)
    assert iterations.count == 0


async def test_the_loop_iterates_several_times_between_two_slices(
    slices: TimeSlices, clock: Clock
) -> None:
    iterations, seen = Iterations(), []
    for _ in range(5):
        await slices.pause()
        seen.append(iterations.count)
        clock.compute(1)
    between = [after - before for before, after in pairwise(seen)]
    assert all(count >= FREE_ITERATIONS for count in between), between


async def test_one_computation_runs_at_a_time(slices: TimeSlices, clock: Clock) -> None:
    iterations, steps = Iterations(), []

    async def compute() -> None:
        for _ in range(3):
            await slices.pause()
            steps.append(iterations.count)
            clock.compute(1)

    await asyncio.gather(*(compute() for _ in range(10)))
    assert len(set(steps)) == 30  # no two steps in one iteration


async def test_callers_take_turns_however_many_computations_each_has(
    computations: Computations,
) -> None:
    many = [computations.run(f"a{n}", 3) for n in range(10)]
    await asyncio.gather(*many, computations.run("b", 3))
    done = computations.done
    assert len(done) == 33
    assert done.index("b") <= 2
    assert len(done) - 1 - done[::-1].index("b") <= 7


async def test_a_cancelled_computation_takes_no_slice(
    computations: Computations, slices: TimeSlices
) -> None:
    tasks = [asyncio.ensure_future(computations.run(name, 1)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert computations.done == ["a", "c"]
    for _ in range(FREE_ITERATIONS + 1):
        await asyncio.sleep(0)
    iterations = Iterations()
    await slices.pause()  # nothing else waits or has just run
    assert iterations.count == 0


def test_another_event_loop_has_slices_of_its_own() -> None:
    done: list[str] = []

    async def use_up_slice() -> None:
        await pause_if_due()
        while not time_slices().is_due():
            pass

    async def leave_a_slice_behind() -> None:
        await use_up_slice()
        asyncio.ensure_future(pause_if_due())  # noqa: RUF006 - it is meant to be lost
        await asyncio.sleep(0)

    async def compute() -> None:
        for _ in range(3):
            await use_up_slice()
            done.append("a")

    asyncio.run(leave_a_slice_behind())
    asyncio.run(compute())
    assert done == ["a"] * 3


async def test_a_pause_that_is_not_due_any_more_ends_immediately(
    slices: TimeSlices, clock: Clock
) -> None:
    await slices.pause()
    clock.compute(1)
    assert slices.is_due()
    for _ in range(2 * FREE_ITERATIONS):
        await asyncio.sleep(0)
    iterations = Iterations()
    await slices.pause()  # nothing would ever wake it
    assert iterations.count == 0
