"""Measures import, export and events of a large directory: `make bench-exchange`.

One million users by default, on both databases. Each command is a process of its own; the memory is
the maximum that the kernel has recorded for it.
"""

import asyncio
import os
import platform
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
from rich.console import Console

from benchmarks.databases import scratch, server
from benchmarks.sizes import share
from tests.support.process import run, serving_process, start_writing

USERS = share(1_000_000, 1_000)
_PAUSE = 0.05  # seconds between two looks at a process


@dataclass
class Figure:
    seconds: float
    mebibytes: float


async def measure(url: str, folder: Path) -> AsyncIterator[tuple[str, Figure]]:
    assert (await run("migrate", ROSTER_DATABASE_URL=url))[0] == 0
    users, output = folder / "users.ndjson", folder / "output.ndjson"
    _write_users(users)
    validation, writing = await _import(url, users)
    yield "import: validation", validation
    yield "import: writing", writing
    yield "export to a file", await _written(url, output, "export", "-")
    yield "events", await _written(url, output, "events")
    yield "export by HTTP", await _by_http(url)


def _write_users(path: Path) -> None:
    with path.open("wb") as file:
        for n in range(USERS):
            name = f"user.{n:07d}"
            status = "ACTIVE" if n % 20 else "DEACTIVATED"
            user = {"username": name, "email": f"{name}@example.com", "status": status}
            user |= {"externalId": f"HR-{n:07d}", "displayName": f"User Number {n}"}
            file.write(orjson.dumps(user) + b"\n")


async def _import(url: str, users: Path) -> tuple[Figure, Figure]:
    progress = users.with_name(f"{users.name}.progress")
    began = time.perf_counter()
    process = await start_writing(PIPE, PIPE, "import", str(users), ROSTER_DATABASE_URL=url)
    validation, memory = 0.0, 0.0
    while process.returncode is None:
        memory = max(memory, peak(process))
        if not validation and progress.exists():  # after the first batch
            validation, first = time.perf_counter() - began, memory
        await asyncio.sleep(_PAUSE)
    assert process.returncode == 0
    writing = time.perf_counter() - began - validation
    return Figure(validation, first), Figure(writing, memory)


async def _written(url: str, output: Path, *arguments: str) -> Figure:
    began = time.perf_counter()
    with output.open("wb") as file:
        process = await start_writing(file, PIPE, *arguments, ROSTER_DATABASE_URL=url)
        memory = 0.0
        while process.returncode is None:
            memory = max(memory, peak(process))
            await asyncio.sleep(_PAUSE)
    assert process.returncode == 0
    taken = time.perf_counter() - began
    with output.open("rb") as file:
        assert sum(1 for _ in file) >= USERS
    return Figure(taken, memory)


async def _by_http(url: str) -> Figure:
    async with (
        serving_process(ROSTER_DATABASE_URL=url) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=60) as http,
    ):
        await http.get("/users.ndjson", params={"search": "user.0000001"})
        before, lines = peak(process), 0
        began = time.perf_counter()
        async with http.stream("GET", "/users.ndjson") as response:
            async for part in response.aiter_raw():
                lines += part.count(b"\n")
        assert lines == USERS
        return Figure(time.perf_counter() - began, peak(process) - before)


def peak(process: Process) -> float:
    """Return the maximum resident memory of a process, in MiB; 0 after its end."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else 0.0


async def main() -> None:
    console = Console(width=120)
    console.print(f"{USERS:,} users, {os.cpu_count()} cores, Python {platform.python_version()}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async for figure in measure(f"sqlite:///{folder}/roster.db", folder):
            _print(console, "SQLite", *figure)
        admin = stack.enter_context(server())
        async with scratch(admin, "roster_exchange") as url:
            async for figure in measure(url, folder):
                _print(console, "PostgreSQL", *figure)
    console.print("The memory of an export by HTTP is what the server needs in addition.")


def _print(console: Console, database: str, what: str, figure: Figure) -> None:
    load = f"load {os.getloadavg()[0]:.1f}"
    numbers = f"{figure.seconds:8.1f} s {figure.mebibytes:6.0f} MiB"
    console.print(f"{database:10}  {what:20} {numbers}  {load}")


if __name__ == "__main__":
    asyncio.run(main())
