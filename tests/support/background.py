"""Programs that run in the background of a test and write a log file."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(
            f"This test needs {name}: `make stage` installs it (Debian: apt-get install "
            "nginx-light haproxy)."
        )
    return found


async def begin(
    log: Path,
    *command: str,
    user: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a program in a session of its own."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
            cwd="/",
            env=None if environment is None else {**os.environ, **environment},
        )


async def wait_until_listening(process: Process, port: int, log: Path) -> None:
    async with asyncio.timeout(60):
        while not await _listens(port):
            assert process.returncode is None, _text(log)
            await asyncio.sleep(0.01)


def _text(log: Path) -> str:
    return log.read_text()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def end(process: Process, seconds: float = 10) -> None:
    """Terminate a program, and kill it if that takes too long."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have started."""
    found: list[int] = []
    with suppress(FileNotFoundError):
        for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(one), *children(int(one))]
    return found


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def is_running(pid: int) -> bool:
    """Return whether a process has not ended. Its parent may not have noticed the end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
