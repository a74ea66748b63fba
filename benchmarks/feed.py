"""Costs of subscriptions: latency, memory of idle subscribers, and the rate of concurrent writes.

`make bench-feed` uses server processes on fresh databases, real sockets and one client process.
"""

import asyncio
import os
import platform
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack

import httpx
from rich.console import Console
from websockets.asyncio.client import ClientConnection

from benchmarks.databases import scratch, server
from benchmarks.followers import following
from benchmarks.sizes import share, share_seconds
from tests.support.client import CREATE
from tests.support.process import processor_seconds, resident, run, serving_process
from tests.support.sockets import event, socket, subscribe

WRITERS = 4
WRITES = WRITERS * share(100, 2)
LISTENED = share(200)
IDLE = share(2_000)
FOLLOWERS = share(100)
ROUNDS = share(7)
REST = 1.0  # seconds
LEAN = "subscription { userEvents { cursor type userId } }"


class Names:
    def __init__(self) -> None:
        self.made = 0

    def creation(self) -> dict[str, object]:
        self.made += 1
        name = f"user{self.made}"
        return {
            "query": CREATE,
            "variables": {"input": {"username": name, "email": f"{name}@example.com"}},
        }


async def latencies(write_to: str, listen_on: str, names: Names) -> list[float]:
    """Return the time from a write's answer to its event, in milliseconds."""
    measured = []
    async with socket(listen_on) as live, httpx.AsyncClient(base_url=write_to) as http:
        await subscribe(live, query=LEAN)
        await asyncio.sleep(1)  # until the subscription is active
        await http.post("/graphql", json=names.creation())
        await event(live)
        for _ in range(LISTENED):
            heard = asyncio.create_task(_when(live))
            await http.post("/graphql", json=names.creation())
            answered = time.perf_counter()
            measured.append((await heard - answered) * 1_000)
    return measured


async def _when(live: ClientConnection) -> float:
    await event(live)
    return time.perf_counter()


class Writing:
    """Four writers to one process: their rate, and the process's CPU time per write."""

    def __init__(self, pid: int, url: str, names: Names) -> None:
        self.rates: list[float] = []
        self.costs: list[float] = []
        self._pid = pid
        self._url = url
        self._names = names

    async def run(self) -> None:
        spent, began = processor_seconds(self._pid), time.perf_counter()
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            await asyncio.gather(*(self._write(http) for _ in range(WRITERS)))
        self.rates.append(WRITES / (time.perf_counter() - began))
        await asyncio.sleep(REST)  # until all events are delivered, which also costs CPU time
        self.costs.append((processor_seconds(self._pid) - spent) / WRITES * 1_000)

    async def _write(self, http: httpx.AsyncClient) -> None:
        for _ in range(WRITES // WRITERS):
            answer = (await http.post("/graphql", json=self._names.creation())).json()
            assert answer["data"]["createUser"]["errors"] == []

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)


async def rates(pid: int, write_to: str, listen_on: str, names: Names) -> tuple[Writing, Writing]:
    """Alternate between writing without subscribers and with them."""
    alone, beside = [Writing(pid, write_to, names) for _ in range(2)]
    await Writing(pid, write_to, names).run()
    for _ in range(ROUNDS):
        await alone.run()
        with following(listen_on, FOLLOWERS, LEAN) as arrived:
            await beside.run()
            assert arrived() == WRITES * FOLLOWERS, arrived()
    return alone, beside


async def idle(pid: int, url: str) -> float:
    """Return the memory of each idle subscriber in the server, in KiB."""
    before = resident(pid)
    async with AsyncExitStack() as stack:
        for _ in range(IDLE):
            live = await stack.enter_async_context(socket(url))
            await subscribe(live, query=LEAN)
        await asyncio.sleep(share_seconds(3))  # until the subscriptions are active
        return (resident(pid) - before) / IDLE / 1024


async def measure(title: str, url: str, console: Console) -> None:
    names = Names()
    settings = {"ROSTER_DATABASE_URL": url}
    async with (
        serving_process(None, **settings) as (process, one),
        serving_process(None, **settings) as (_, two),
    ):
        for where, other in (("the same process", one), ("another process", two)):
            took = sorted(await latencies(one, other, names))
            console.print(
                f"{title}: to a subscriber of {where}, median {statistics.median(took):.1f} ms, "
                f"95 % {took[int(len(took) * 0.95)]:.1f} ms after the answer to the write"
            )
        for where, other in (("the same process", one), ("another process", two)):
            alone, beside = await rates(process.pid, one, other, names)
            console.print(
                f"{title}: {alone.rate:.0f} writes a second alone, {beside.rate:.0f} beside "
                f"{FOLLOWERS} subscribers of {where}: {beside.rate / alone.rate:.0%}; "
                f"{alone.cost:.2f} and {beside.cost:.2f} ms of a processor for each"
            )
        held = await idle(process.pid, one)
        console.print(f"{title}: {held:.0f} KiB for each of {IDLE} idle subscribers")


async def on_postgres(admin: str, console: Console) -> None:
    async with scratch(admin, "roster_feed") as url:
        await run("migrate", ROSTER_DATABASE_URL=url)
        await measure("PostgreSQL", url, console)


def main() -> None:
    console = Console(width=120, highlight=False)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        admin = stack.enter_context(server())
        asyncio.run(on_postgres(admin, console))
        asyncio.run(measure("SQLite", f"sqlite:///{folder}/roster.db", console))
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}.")
    console.print(f"Load of the last minute: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
