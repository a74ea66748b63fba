"""Compares `bulkUsers` with single mutations: `make bench-bulk`.

Runs one server process on a fresh database, over HTTP with persistent connections. Single
mutations, sequential and 16 concurrent, alternate with batches of 500.
"""

import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.databases import scratch, server
from benchmarks.sizes import share
from tests.support.process import run, serving_process

ROUNDS = share(5)
SINGLES = share(200, 16)
BATCH = share(500, 10)
AT_ONCE = 16

Inputs = Sequence[dict[str, Any]]

_MUTATIONS = {
    "create": ("createUser", "CreateUserInput"),
    "update": ("updateUser", "UpdateUserInput"),
    "deactivate": ("deactivateUser", "UserTransitionInput"),
}
_BULK = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) {
  results { user { id version } errors { code } } } }"""


class Asker:
    """Sends mutations. Its methods return the ids of the users that they wrote."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def ask(self, query: str, given: dict[str, Any]) -> Any:
        response = await self.http.post(
            "/graphql", json={"query": query, "variables": {"input": given}}
        )
        return next(iter(response.json()["data"].values()))

    async def one(self, verb: str, given: dict[str, Any]) -> str:
        field, type_ = _MUTATIONS[verb]
        query = f"""mutation ($input: {type_}!) {{ {field}(input: $input) {{
          user {{ id version }} errors {{ code }} }} }}"""
        payload = await self.ask(query, given)
        assert payload["errors"] == []
        return str(payload["user"]["id"])

    async def one_by_one(self, verb: str, inputs: Inputs) -> list[str]:
        return [await self.one(verb, given) for given in inputs]

    async def side_by_side(self, verb: str, inputs: Inputs) -> list[str]:
        lanes = [inputs[lane::AT_ONCE] for lane in range(AT_ONCE)]
        done = await asyncio.gather(*(self.one_by_one(verb, lane) for lane in lanes))
        return [user_id for lane in done for user_id in lane]

    async def batch(self, verb: str, inputs: Inputs) -> list[str]:
        operations = [{verb: given} for given in inputs]
        payload = await self.ask(_BULK, {"operations": operations})
        assert all(result["errors"] == [] for result in payload["results"])
        return [result["user"]["id"] for result in payload["results"]]


def creations(numbers: Iterator[int], people: int) -> Inputs:
    return [
        {
            "username": f"user{number}",
            "email": f"user{number}@example.com",
            "displayName": f"User {number}",
        }
        for number, _ in zip(numbers, range(people), strict=False)
    ]


async def measure(url: str) -> dict[str, dict[str, float]]:
    """Return the median rate, in users per second, for each verb and way of sending."""
    rates: dict[str, dict[str, list[float]]] = {verb: {} for verb in _MUTATIONS}
    numbers = count(1)
    async with (
        serving_process(ROSTER_DATABASE_URL=url) as (_, address),
        httpx.AsyncClient(base_url=address, timeout=60) as http,
    ):
        asker = Asker(http)
        ways = (
            ("one by one", asker.one_by_one, SINGLES),
            (f"{AT_ONCE} at once", asker.side_by_side, SINGLES),
            (f"batches of {BATCH}", asker.batch, BATCH),
        )
        for number in range(ROUNDS + 1):
            for way, ask, people in ways:
                inputs = creations(numbers, people)
                for verb in _MUTATIONS:
                    began = time.perf_counter()
                    ids = await ask(verb, inputs)
                    rate = people / (time.perf_counter() - began)
                    if number:  # the first round warms up
                        rates[verb].setdefault(way, []).append(rate)
                    inputs = [{"id": i} | changes(verb) for i in ids]
    return {
        verb: {way: statistics.median(measured) for way, measured in of.items()}
        for verb, of in rates.items()
    }


def changes(verb: str) -> dict[str, Any]:
    return {"displayName": "Somebody else"} if verb == "create" else {}


def table(title: str, rates: dict[str, dict[str, float]]) -> Table:
    ways = list(next(iter(rates.values())))
    made = Table(title=f"{title}: users a second; in brackets, times one by one")
    for name in ("", *ways):
        made.add_column(name, justify="right" if name else "left")
    for verb, of in rates.items():
        made.add_row(verb, *(f"{of[way]:.0f} ({of[way] / of[ways[0]]:.1f})" for way in ways))
    return made


async def on_postgres(admin: str) -> dict[str, dict[str, float]]:
    async with scratch(admin, "roster_bulk") as url:
        await run("migrate", ROSTER_DATABASE_URL=url)
        return await measure(url)


def main() -> None:
    console = Console(width=120)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        admin = stack.enter_context(server())
        console.print(table("PostgreSQL", asyncio.run(on_postgres(admin))))
        console.print(table("SQLite", asyncio.run(measure(f"sqlite:///{folder}/roster.db"))))
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds.")


if __name__ == "__main__":
    main()
