"""The `roster` command as a process of its own, and a server run by it."""

import asyncio
import atexit
import os
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

import httpx

from tests.support import forks

MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
_ROSTER = Path(sys.executable).parent / "roster"
_BLOCK = 100  # ports


async def start(*arguments: str, cwd: Path | None = None, **settings: str) -> Process:
    """Start the command with these settings and none from outside; its output is one pipe.

    The coverage of a server is measured only if its settings include MEASURED: other tests run most
    of the code in this process, and measuring makes the start half as long again. That of a command
    is measured on SQLite.

    The command is a fork if `forks.can_fork`, else the installed program.
    """
    return await start_writing(PIPE, STDOUT, *arguments, cwd=cwd, **settings)


async def start_writing(
    stdout: int | IO[bytes],
    stderr: int,
    *arguments: str,
    cwd: Path | None = None,
    **settings: str,
) -> Process:
    """Like `start`, with other files for the output."""
    on_postgres = settings.get("ROSTER_DATABASE_URL", "").startswith("postgres")
    measured = "serve" not in arguments and not on_postgres
    left_out = ("ROSTER_",) if measured else ("ROSTER_", "COVERAGE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    environment = kept | settings
    if forks.can_fork(environment):
        return await forks.fork(arguments, environment, cwd, stdout, stderr)
    return await asyncio.create_subprocess_exec(
        _ROSTER,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=environment,
    )


async def run(*arguments: str, cwd: Path | None = None, **settings: str) -> tuple[int, str]:
    """Runs the command to its end; returns its exit code and output."""
    process = await start(*arguments, cwd=cwd, **settings)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


def resident(pid: int) -> int:
    """Returns the resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Returns the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def http_client(url: str = "") -> httpx.AsyncClient:
    """Returns a client that drops idle connections before the server does, to avoid a race."""
    return httpx.AsyncClient(
        base_url=url,
        verify=_tls(),
        timeout=60,
        limits=httpx.Limits(keepalive_expiry=2),
    )


@cache
def _tls() -> ssl.SSLContext:
    """Returns the context that httpx makes for each client, which takes 25 ms of CPU time."""
    return httpx.create_ssl_context()


def free_port(*, to_keep: bool = False) -> int:
    """Returns a port of this process, and the same one again after all others of its block.

    No other process of the tests returns it. A port `to_keep` is not returned again.
    """
    ports = _block()
    while True:
        port = ports.popleft()
        if not to_keep:
            ports.append(port)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@cache
def _block() -> deque[int]:
    """Returns the ports of a block that belongs to this process until it ends."""
    # Below the ports of outgoing connections: one of those could take it before the server does.
    for first in range(20_000, 32_600, _BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        atexit.register(claim.close)
        with suppress(OSError):  # another process has bound this name
            claim.bind(f"\0roster tests, ports from {first}")
            return deque(range(first, first + _BLOCK))
    raise AssertionError("too many processes run tests")


@asynccontextmanager
async def serving_process(
    cwd: Path | None = None, **settings: str
) -> AsyncIterator[tuple[Process, str]]:
    """Serves on ROSTER_PORT or a free port; yields the process and the base URL once it is ready.

    Without a drain period, unless the settings contain one.
    """
    settings = {"ROSTER_DRAIN_PERIOD": "0", "ROSTER_PORT": str(free_port())} | settings
    process = await start("serve", cwd=cwd, **settings)
    assert process.stdout
    try:
        seen = b""
        while b"mode" not in seen:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, seen.decode()
            seen += line
        yield process, f"http://127.0.0.1:{settings['ROSTER_PORT']}"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)  # it forwards the signal to its workers
            await asyncio.wait_for(process.communicate(), 60)
