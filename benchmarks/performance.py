"""Roster beside a tutorial's service, the bare floor and the peers of Node: `make bench`.

One PostgreSQL with 100,000 users, all servers on it with one process each, and wrk with 16
connections, which asks one server after the other: each operation goes round all of them, as often
as there are rounds, so that whatever else the machine does falls on all.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import asyncpg
from rich.console import Console

from benchmarks import contenders, databases
from benchmarks.contenders import Contender, running
from benchmarks.load import CannotMeasure, wrk
from benchmarks.operations import OPERATIONS, PEOPLE, Operation
from benchmarks.people import populate
from benchmarks.report import machine, table
from benchmarks.rounds import measure
from benchmarks.truth import Truth
from db import migrate
from db.engine import Database
from tests.process import run

_console = Console(width=140, highlight=False)
say = _console.print

Named = TypeVar("Named", Contender, Operation)


def main() -> None:
    options = _options()
    # As a Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(bench(options))
    except CannotMeasure as error:
        sys.exit(f"make bench: {error}")
    except KeyboardInterrupt:
        sys.exit("make bench: stopped")


def _options() -> argparse.Namespace:
    names = [named.name for named in (*contenders.PYTHON, *OPERATIONS)]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--only", default="", help=f"what to measure: some of {','.join(names)}")
    options = parser.parse_args()
    options.only = list(filter(None, options.only.split(",")))
    if unknown := set(options.only).difference(names):
        parser.error(f"--only: not known: {', '.join(sorted(unknown))}")
    return options


def _named(of: Sequence[Named], names: Collection[str]) -> list[Named]:
    """Choose those that are named; all of them, where none is."""
    return [named for named in of if named.name in names] or list(of)


async def bench(options: argparse.Namespace) -> None:
    wrk()
    servers = _named(contenders.PYTHON, options.only)
    operations = _named(OPERATIONS, options.only)
    async with AsyncExitStack() as stack:
        admin = stack.enter_context(databases.server())
        url = await stack.enter_async_context(databases.scratch(admin, "roster_performance"))
        await _fill(url)
        signed_in = {"authorization": f"Bearer {await _api_key(url)}"}
        up = [
            stack.enter_context(running(server, url, signed_in if server.signs_in else {}))
            for server in servers
        ]
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        measured = await measure(
            up,
            operations,
            Truth(connection),
            say,
            rounds=options.rounds,
            seconds=options.seconds,
        )
        for asked in operations:
            say(table(asked, measured[asked.name], servers))
        _tell(machine(await connection.fetchval("SHOW server_version")))


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


def _tell(facts: Mapping[str, str]) -> None:
    say(", ".join(f"{name} {value}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
