"""Roster beside a tutorial's service, the bare floor and the peers of Node: `make bench`.

One PostgreSQL with 100,000 users, all servers on it with one process each, and wrk with 16
connections, which asks one server after the other: each operation goes round all of them, as often
as there are rounds, so that whatever else the machine does falls on all.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import asyncpg
import orjson
from rich.console import Console

from benchmarks import contenders, databases
from benchmarks.contenders import Contender, Running, running
from benchmarks.load import CannotMeasure, wrk
from benchmarks.operations import OPERATIONS, PEOPLE, Operation
from benchmarks.peers import PEERS, install
from benchmarks.people import populate
from benchmarks.process import Figures, first_requests, mebibytes, memory
from benchmarks.report import Results, machine, table
from benchmarks.rounds import Measured, measure
from benchmarks.truth import Truth
from db import migrate
from db.engine import Database
from tests.process import run

_console = Console(width=140, highlight=False)
say = _console.print

_SERVERS = (*contenders.PYTHON, *PEERS)
_START, _MEMORY = "start", "memory"
_EXTRAS = (_START, _MEMORY)
_NAMES = (*(named.name for named in (*_SERVERS, *OPERATIONS)), *_EXTRAS)
Named = TypeVar("Named", Contender, Operation)


@dataclass(frozen=True, slots=True)
class Options:
    seconds: int
    rounds: int
    only: Collection[str]
    json: Path | None

    def wants(self, extra: str) -> bool:
        return extra in self.only or not self.only

    def wants_tables(self) -> bool:
        return not self.only or not set(_EXTRAS).issuperset(self.only)


def main() -> None:
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        asyncio.run(bench(options))
    except CannotMeasure as error:
        sys.exit(f"make bench: {error}")
    except KeyboardInterrupt:
        sys.exit("make bench: stopped")


def _stop(number: int, _: object) -> NoReturn:
    """End what runs; all that was started is stopped on the way out, which no signal cuts short."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--only", default="", help=f"what to measure: some of {','.join(_NAMES)}")
    parser.add_argument("--json", type=Path, help="a file to write the results to")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name]
    if unknown := set(only).difference(_NAMES):
        parser.error(f"--only: not known: {', '.join(sorted(unknown))}")
    return Options(given.seconds, given.rounds, only, given.json)


def _named(of: Sequence[Named], names: Collection[str]) -> list[Named]:
    """Choose those that are named; all of them, where none is."""
    return [named for named in of if named.name in names] or list(of)


async def bench(options: Options) -> None:
    wrk()
    load_before = os.getloadavg()[0]
    operations = _named(OPERATIONS, options.only)
    async with AsyncExitStack() as stack:
        admin = stack.enter_context(databases.server())
        url = await stack.enter_async_context(databases.scratch(admin, "roster_performance"))
        await _fill(url)
        key = {"authorization": f"Bearer {await _api_key(url)}"}
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        loads: Measured = {}
        held: dict[str, float] = {}
        if options.wants_tables():
            with ExitStack() as servers:
                chosen = _named(_SERVERS, options.only)
                up = [up for server in chosen if (up := _start(servers, server, url, key))]
                loads = await measure(
                    up,
                    operations,
                    Truth(connection),
                    say,
                    rounds=options.rounds,
                    seconds=options.seconds,
                )
                held = {server.contender.name: mebibytes(server.pid) for server in up}
        figures: Figures = {}
        if options.wants(_START):
            figures |= await first_requests(url)
        if options.wants(_MEMORY):
            say("100,000 requests with 5,000 documents, for the memory.")
            figures |= memory(url, key)
        results = Results(
            machine=machine(await connection.fetchval("SHOW server_version"), load_before),
            seconds=options.seconds,
            rounds=options.rounds,
            servers={server.name: server.title for server in _SERVERS},
            operations={asked.name: asked.title for asked in operations},
            loads=loads,
            memory=held,
            figures=figures,
        )
    _tell(results)
    if options.json:
        options.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


def _tell(results: Results) -> None:
    for operation in results.loads:
        say(table(results, operation))
    for line in results.told():
        say(line)


def _start(stack: ExitStack, server: Contender, url: str, key: Mapping[str, str]) -> Running | None:
    """Start a server; say why one that may be missing cannot be, and do without it."""
    try:
        if server in PEERS:
            install()
        return stack.enter_context(running(server, url, key if server.signs_in else {}))
    except CannotMeasure as error:
        if not server.may_be_missing:
            raise
        say(f"Without {server.title}: {error}")
        return None


async def _fill(url: str) -> None:
    database = Database(url, pool_size=1)
    try:
        await migrate.upgrade(database)
        await populate(database, PEOPLE)
    finally:
        await database.close()
    say(f"PostgreSQL runs, with {PEOPLE:,} users.")


async def _api_key(url: str) -> str:
    scopes = ("--scope", "users:read", "--scope", "users:write")
    code, output = await run("key", "create", "benchmark", *scopes, ROSTER_DATABASE_URL=url)
    assert code == 0, output
    return output.split()[-1]


if __name__ == "__main__":
    main()
