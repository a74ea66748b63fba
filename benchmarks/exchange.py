"""Measures import, export and events of a large directory: `make bench-exchange`.

One million users by default, on both databases. Each command is a process of its own. CPU seconds
are its own, without those of PostgreSQL. The memory is the maximum that the kernel has recorded.
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
from tests.support.process import processor_seconds, run, serving_process, start_writing

USERS = share(1_000_000, 1_000)
_PAUSE = 0.05  # seconds between two looks at a process


@dataclass
class Figure:
    seconds: float
    cpu_seconds: float
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
    validation: Figure | None = None
    used = memory = 0.0
    while process.returncode is None:
        used, memory = usage(process) or (used, memory)
        if not validation and progress.exists():  # after the first batch
            validation = Figure(time.perf_counter() - began, used, memory)
        await asyncio.sleep(_PAUSE)
    assert process.returncode == 0
    assert validation
    whole = time.perf_counter() - began
    writing = Figure(whole - validation.seconds, used - validation.cpu_seconds, memory)
    return validation, writing


async def _written(url: str, output: Path, *arguments: str) -> Figure:
    began = time.perf_counter()
    with output.open("wb") as file:
        process = await start_writing(file, PIPE, *arguments, ROSTER_DATABASE_URL=url)
        used = memory = 0.0
        while process.returncode is None:
            used, memory = usage(process) or (used, memory)
            await asyncio.sleep(_PAUSE)
    assert process.returncode == 0
    taken = time.perf_counter() - began
    with output.open("rb") as file:
        assert sum(1 for _ in file) >= USERS
    return Figure(taken, used, memory)


async def _by_http(url: str) -> Figure:
    async with (
        serving_process(ROSTER_DATABASE_URL=url) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=60) as http,
    ):
        await http.get("/users.ndjson", params={"search": "user.0000001"})
        before, lines = usage(process) or (0.0, 0.0), 0
        began = time.perf_counter()
        async with http.stream("GET", "/users.ndjson") as response:
            async for part in response.aiter_raw():
                lines += part.count(b"\n")
        assert lines == USERS
        taken, after = time.perf_counter() - began, usage(process) or (0.0, 0.0)
        return Figure(taken, after[0] - before[0], after[1] - before[1])


def usage(process: Process) -> tuple[float, float] | None:
    """Return the CPU seconds and the maximum memory, in MiB; None after the end of the process."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return (processor_seconds(process.pid), int(found[0]) / 1024) if found else None
    except OSError:
        return None


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
    numbers = f"{figure.seconds:8.1f} s {figure.cpu_seconds:8.1f} s of CPU"
    numbers += f" {figure.mebibytes:6.0f} MiB"
    console.print(f"{database:10}  {what:20} {numbers}  {load}")


if __name__ == "__main__":
    asyncio.run(main())
