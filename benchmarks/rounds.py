"""Runs every operation on all servers in rounds, and takes the medians."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import httpx

from benchmarks.answers import check, check_sizes
from benchmarks.contenders import Running
from benchmarks.dialects import Request
from benchmarks.load import CannotMeasure, Load, load
from benchmarks.operations import Operation
from benchmarks.truth import Truth

WARM_UP = 2  # seconds of a round that is not counted

# Operation -> server -> result, by their names.
Measured = dict[str, dict[str, Load]]


async def measure(
    servers: Sequence[Running],
    operations: Iterable[Operation],
    truth: Truth,
    say: Callable[[str], None],
    *,
    rounds: int,
    seconds: int,
) -> Measured:
    """Measure all operations. Raises CannotMeasure at the first wrong answer."""
    measured: Measured = {}
    async with httpx.AsyncClient(timeout=60) as http:
        for asked in operations:
            lanes = [await _lane(http, server, asked, truth) for server in servers]
            loads: dict[str, list[Load]] = {s.contender.name: [] for s in servers}
            for number in range(rounds + 1):
                for lane in lanes:
                    done = await lane.load(seconds if number else WARM_UP)
                    if number:
                        loads[lane.server.contender.name].append(done)
            measured[asked.name] = {name: _median(of) for name, of in loads.items()}
            rates = (f"{name} {done.rate:.0f}" for name, done in measured[asked.name].items())
            say(f"{asked.title}, requests a second: {', '.join(rates)}")
    return measured


@dataclass(frozen=True)
class _Lane:
    """One server and one operation. `size` is the mean size of a correct answer in bytes."""

    server: Running
    asked: Operation
    truth: Truth
    requests: Sequence[Request]
    size: float

    async def load(self, seconds: int) -> Load:
        if self.asked.expect:
            return self._load(seconds)
        before = await self.truth.counts()
        done = self._load(seconds)
        after = await self.truth.counts()
        users, events = (now - then for now, then in zip(after, before, strict=True))
        if not users == events >= done.requests:
            raise CannotMeasure(
                f"{self.server.contender.title}: {done.requests} creations were answered; "
                f"they left {users} users and {events} events."
            )
        return done

    def _load(self, seconds: int) -> Load:
        before = self.server.processor_seconds()
        done = load(self.server.address, self.requests, seconds, self.server.headers)
        busy = (self.server.processor_seconds() - before) / done.requests
        check_sizes(self.server, self.asked, done, self.size)
        return replace(done, busy=busy * 1_000)


async def _lane(http: httpx.AsyncClient, server: Running, asked: Operation, truth: Truth) -> _Lane:
    size = await check(http, server, asked, truth)
    return _Lane(server, asked, truth, asked.requests(server.contender.dialect), size)


def _median(loads: Sequence[Load]) -> Load:
    return Load(
        requests=sum(done.requests for done in loads),
        rate=statistics.median(done.rate for done in loads),
        p50=statistics.median(done.p50 for done in loads),
        p99=statistics.median(done.p99 for done in loads),
        bytes_each=statistics.median(done.bytes_each for done in loads),
        busy=statistics.median(done.busy for done in loads),
    )
