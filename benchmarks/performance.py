"""Compares Roster with a tutorial's service, the bare floor and peers on Node: `make bench`.

All servers run as one process each on one PostgreSQL with 100,000 users. wrk uses 16 connections to
one server at a time. In each round, each operation runs on all servers in sequence, so that other
load on the machine affects all of them. `--against TREE` compares with another tree of Roster, such
as a worktree of an older commit.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import NoReturn

import asyncpg
import orjson
from rich.console import Console

from benchmarks import databases, options, stage
from benchmarks.load import CannotMeasure, wrk
from benchmarks.operations import PEOPLE
from benchmarks.options import Options
from benchmarks.process import DOCUMENTS, REQUESTS, Figures, first_requests, mebibytes, memory
from benchmarks.report import Results, machine, ratios, table
from benchmarks.rounds import measure
from benchmarks.truth import Truth

_console = Console(width=150, highlight=False)


def say(what: object) -> None:
    _console.print(what)
    sys.stdout.flush()


def main() -> None:
    wanted = options.read(__doc__)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        results = asyncio.run(bench(wanted))
    except CannotMeasure as error:
        sys.exit(f"make bench: {error}")
    except KeyboardInterrupt:
        sys.exit("make bench: stopped")
    for operation in results.loads:
        say(table(results, operation))
    if wanted.against:
        for compared in ratios(results):
            say(compared)
    for line in results.told():
        say(line)
    if wanted.json:
        wanted.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


def _stop(number: int, _: object) -> NoReturn:
    """Stop the benchmark. Later signals are ignored, so that the cleanup completes."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


async def bench(wanted: Options) -> Results:
    wrk()
    results = Results(machine(), os.getloadavg()[0], wanted.seconds, wanted.rounds)
    async with AsyncExitStack() as stack:
        admin = stack.enter_context(databases.server())
        url = await stack.enter_async_context(databases.scratch(admin, "roster_performance"))
        await stage.fill(url)
        say(f"PostgreSQL runs, with {PEOPLE:,} users.")
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        results.machine["PostgreSQL"] = await connection.fetchval("SHOW server_version")
        signed_in = await stage.key(url)
        if wanted.tables:
            await _compare(wanted, results, url, signed_in, Truth(connection))
        results.figures.update(await _look_closer(wanted, url, signed_in))
    return results


async def _compare(
    wanted: Options, results: Results, url: str, signed_in: Mapping[str, str], truth: Truth
) -> None:
    with ExitStack() as stack:
        up, missing = stage.start(stack, wanted.servers, url, signed_in, say)
        results.missing.update(missing)
        loads = await measure(
            up, wanted.operations, truth, say, rounds=wanted.rounds, seconds=wanted.seconds
        )
        results.loads.update(loads)
        results.memory.update({s.contender.name: mebibytes(s.pid) for s in up})


async def _look_closer(wanted: Options, url: str, signed_in: Mapping[str, str]) -> Figures:
    figures: Figures = {}
    if wanted.wants(options.START):
        figures |= await first_requests(url)
    if wanted.wants(options.MEMORY):
        say(f"{REQUESTS:,} requests with {DOCUMENTS:,} documents, to see what memory they leave.")
        figures |= memory(url, signed_in)
    return figures


if __name__ == "__main__":
    main()
