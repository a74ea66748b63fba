"""The client of the fork server: its processes have the interface of those that asyncio starts."""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO

_SERVER = Path(__file__).with_name("fork_server.py")
# Variables that are read when a command runs, or by tests alone. Others can be read by an import,
# or by the linker.
_READ_LATE = ("ROSTER_", "DATABASE_URL", "COVERAGE_", "PG", "PYTEST_", "TOKEN", "USER_TOKEN")
# A server with metrics of several workers decides before its imports where it keeps them.
_METRICS, _WORKERS = "ROSTER_MANAGEMENT_PORT", "ROSTER_WORKERS"
_ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(_READ_LATE)}


class _Report(asyncio.Protocol):
    """Receives the pid of a command and, later, its exit code."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # Each line is written at once.
        for line in data.splitlines():
            if not self.pid.done():
                self.pid.set_result(int(line))
                continue
            self._transport.close()  # first: who waits may close the loop
            self.exited.set_result(int(line))


class _Output(asyncio.StreamReaderProtocol):
    """Output of a command."""

    def __init__(self) -> None:
        self.stream = asyncio.StreamReader()
        super().__init__(self.stream)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set_result(None)


class Fork(Process):
    """A command that runs as a fork."""

    def __init__(  # there is no transport to call that of Process with
        self, pid: int, exited: asyncio.Future[int], stdout: _Output | None, stderr: _Output | None
    ) -> None:
        self.pid, self._exited = pid, exited
        self.stdin = None
        self.stdout = stdout.stream if stdout else None
        self.stderr = stderr.stream if stderr else None
        self._closed = [pipe.closed for pipe in (stdout, stderr) if pipe]

    @property
    def returncode(self) -> int | None:
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> int:
        """Wait for the end of the process and of its pipes, as asyncio does."""
        await asyncio.shield(asyncio.gather(self._exited, *self._closed))
        return self._exited.result()

    async def communicate(self, _: object = None) -> tuple[bytes, bytes]:
        stdout, stderr = await asyncio.gather(_all_of(self.stdout), _all_of(self.stderr))
        await self.wait()
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self._exited.done():
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# Set by tests/conftest.py. Benchmarks and the fuzzer start the program, as users do.
are_allowed = False


def can_fork(environment: Mapping[str, str]) -> bool:
    """Returns whether a fork behaves like a program that is started with this environment."""
    if not are_allowed or (_METRICS in environment and environment.get(_WORKERS, "1") != "1"):
        return False
    changed = environment.items() ^ _ENVIRONMENT.items()
    return all(name.startswith(_READ_LATE) for name, _ in changed)


async def fork(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    cwd: Path | None,
    stdout: int | IO[bytes],
    stderr: int,
) -> Process:
    """Run a command. `stdout` is PIPE or a file; `stderr` is PIPE or STDOUT."""
    command = {
        "arguments": arguments,
        "environment": dict(environment),
        "cwd": str(cwd or Path.cwd()),
    }
    with ExitStack() as ends:
        report, to_report = _pipe(ends)
        out, to_out = _pipe(ends) if stdout == PIPE else (None, _descriptor(stdout))
        err, to_err = _pipe(ends) if stderr == PIPE else (None, to_out)
        files = [to_report, to_out, to_err]
        socket.send_fds(_requests(), [json.dumps(command).encode()], files)
    _, reported = await asyncio.get_running_loop().connect_read_pipe(_Report, report)
    return Fork(await reported.pid, reported.exited, await _output(out), await _output(err))


async def _output(pipe: IO[bytes] | None) -> _Output | None:
    if pipe is None:
        return None
    _, output = await asyncio.get_running_loop().connect_read_pipe(_Output, pipe)
    return output


def _descriptor(file: int | IO[bytes]) -> int:
    return file if isinstance(file, int) else file.fileno()


def _pipe(ends: ExitStack) -> tuple[IO[bytes], int]:
    """Returns both ends. That for writing is closed with `ends`."""
    reading, writing = os.pipe()
    ends.callback(os.close, writing)
    return os.fdopen(reading, "rb", buffering=0), writing


async def _all_of(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


@cache
def _requests() -> socket.socket:
    """Starts the server and returns the socket for its requests. It ends with this process."""
    requests, of_server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with of_server:
        server = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", _SERVER, str(of_server.fileno())],
            pass_fds=[of_server.fileno()],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(server.wait, 60)
    atexit.register(requests.close)
    return requests
