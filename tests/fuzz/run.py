"""A run: starts a server, sends every case to it and reports the outcomes."""

import asyncio
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.table import Table

from tests.fuzz.cases import Case, Outcome, Request
from tests.fuzz.conversation import converse
from tests.fuzz.exchange import exchange
from tests.fuzz.log import faults as log_faults
from tests.fuzz.mix import mix
from tests.fuzz.operations import Known
from tests.support.process import resident, serving_process
from tests.support.sockets import ask

_AT_ONCE = 4
_AGAIN = 5
_PARTS = 9
# Memory: caches of documents fill up with the first cases, by up to _CACHES bytes. After _WARM
# cases memory may grow by no more than _GROWTH.
_CACHES = 200 * 2**20
_WARM = 5_000
_GROWTH = 30 * 2**20
_CREATE = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id } } }"
_CURSORS = "{ %s(first: 20) { edges { cursor } } }"


@dataclass(frozen=True)
class Report:
    outcomes: list[Outcome]
    memory: list[int]  # bytes, before and after each part
    slowest: list[Outcome]
    again: list[Outcome]  # the same, each sent alone
    faults: list[str]  # of the server as a whole
    log: str

    @property
    def problems(self) -> dict[str, list[Outcome]]:
        """Returns the outcomes with each problem, the shortest case first."""
        found: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            for problem in dict.fromkeys(outcome.problems):
                found[problem].append(outcome)
        return {k: sorted(v, key=lambda o: len(repr(o.case))) for k, v in found.items()}

    def lines(self, shown: int = 2) -> Iterator[str]:
        """Yields all faults and problems, with the shortest cases that show them."""
        yield from self.faults
        for problem, outcomes in self.problems.items():
            yield f"{len(outcomes)} times: {problem}"
            for outcome in outcomes[:shown]:
                yield f"    {outcome.end} in {outcome.seconds:.2f} s: {outcome.case!r:.1500}"

    def table(self) -> Table:
        table = Table("kind", "cases", "ended with", "wrong", "slowest")
        kinds: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            kinds[outcome.case.kind].append(outcome)
        for kind, outcomes in sorted(kinds.items()):
            ends = Counter(outcome.end for outcome in outcomes)
            table.add_row(
                kind,
                str(len(outcomes)),
                ", ".join(f"{end} × {n}" for end, n in sorted(ends.items())),
                str(sum(bool(outcome.problems) for outcome in outcomes) or ""),
                f"{max(outcome.seconds for outcome in outcomes):.2f} s",
            )
        return table

    def summary(self) -> Iterator[str]:
        """Yields lines about the slowest answers and the memory."""
        yield f"{len(self.outcomes)} cases. The slowest answers, and each asked again alone:"
        for outcome, alone in zip(self.slowest, self.again, strict=True):
            yield f"{outcome.seconds:.2f} s, {alone.seconds:.2f} s alone: {outcome.case!r:.300}"
        memory = ", ".join(f"{size / 2**20:.0f}" for size in self.memory)
        yield f"MiB of memory before, and after each of {_PARTS} parts: {memory}."


async def run(count: int, seed: int, folder: Path, **settings: str) -> Report:
    settings = {"ROSTER_MAX_BATCH_SIZE": "10"} | settings
    async with serving_process(folder, **settings) as (process, url), _read(process) as log:
        cases = mix(count, seed, await _known(url))
        memory, outcomes = [_memory(process)], []
        for part in range(_PARTS):
            outcomes += await _send_all(url, cases[part::_PARTS])
            memory.append(_memory(process))
        slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:_AGAIN]
        again = [each for outcome in slowest for each in await _send_all(url, [outcome.case])]
        faults = await _health(process, url)
    faults += _growth(memory, count)
    text = b"".join(log).decode(errors="replace")
    return Report(outcomes, memory, slowest, again, faults + log_faults(text), text)


def _growth(memory: list[int], count: int) -> list[str]:
    warm = next((part for part in range(_PARTS) if part * count >= _WARM * _PARTS), 0)
    grown = memory[-1] - memory[warm]
    if grown <= (_GROWTH if warm else _CACHES):
        return []
    return [f"memory grew by {grown / 2**20:.0f} MiB after part {warm} of {_PARTS}"]


def _memory(process: Process) -> int:
    """Returns the resident bytes of the server and its workers."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return sum(map(resident, [process.pid, *map(int, children)]))
    except FileNotFoundError:  # it has ended, which `_health` reports
        return 0


@asynccontextmanager
async def _read(process: Process) -> AsyncIterator[list[bytes]]:
    """Collects the server's log, because the server blocks if the pipe is full."""
    log: list[bytes] = []

    async def read() -> None:
        assert process.stdout
        while chunk := await process.stdout.read(65536):
            log.append(chunk)

    reader = asyncio.create_task(read())
    try:
        yield log
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _known(url: str) -> Known:
    ids = []
    for n in range(20):
        values = {"username": f"known{n}", "email": f"known{n}@example.com"}
        ids.append((await ask(url, _CREATE, input=values))["user"]["id"])
    cursors = [
        edge["cursor"]
        for name in ("users", "userEvents")
        for edge in (await ask(url, _CURSORS % name))["edges"]
    ]
    return Known(ids, cursors)


async def _send_all(url: str, cases: list[Case]) -> list[Outcome]:
    port = urlsplit(url).port
    assert port
    remaining = iter(cases)
    outcomes: list[Outcome] = []

    async def send() -> None:
        for case in remaining:
            try:
                if isinstance(case, Request):
                    outcomes.append(await exchange(port, case))
                else:
                    outcomes.append(await converse(url, case))
            except OSError as error:
                outcomes.append(Outcome(case, "refused", 0, [f"no connection: {error!r}"]))

    await asyncio.gather(*(send() for _ in range(_AT_ONCE)))
    return outcomes


async def _health(process: Process, url: str) -> list[str]:
    if process.returncode is not None:
        return [f"the server ended with {process.returncode}"]
    try:
        async with httpx.AsyncClient(base_url=url, timeout=5) as http:
            response = await http.post("/graphql", json={"query": "{ __typename }"})
    except httpx.HTTPError as error:
        return [f"the server does not answer any more: {error!r}"]
    if response.json() != {"data": {"__typename": "Query"}}:
        return [f"the server answers {response.text}"]
    return []
