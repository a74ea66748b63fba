"""Starts `roster` commands as forks of a process that has imported their modules already.

Importing takes most of the CPU time of a short command and of a server's start. In everything else
a fork is a process like any other: it has its own pid, environment, folder and output, runs `main`
with its own arguments, is ended by signals, and has an exit code.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_MODULES = ("graph.cli.main", "graph.cli.serving", "graph.app")
_MAX_REQUEST = 1_000_000  # bytes, of arguments and environment
_PROGRAM = str(Path(sys.executable).parent / "roster")


def serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request until the requests end. Returns in the forks: the command to run."""
    for module in _MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else a collection copies all pages that are shared with this process
    while True:
        request, files, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 3)
        _reap()
        if not request:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            _run_in_child(*files)
            command: dict[str, Any] = json.loads(request)
            return command
        for file in files:
            os.close(file)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_in_child(report: int, stdout: int, stderr: int) -> None:
    """Fork once more and return in the child. Reports its pid and, later, its exit code."""
    if pid := os.fork():
        os.write(report, f"{pid}\n".encode())
        for file in (stdout, stderr):
            os.close(file)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the command
        _, status = os.waitpid(pid, 0)
        os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for file in (report, stdout, stderr):
        os.close(file)


def become(arguments: list[str], environment: dict[str, str], cwd: str) -> None:
    """Make this process look like one that was started with these."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    sys.argv = [_PROGRAM, *arguments]
    if line := environment.get("PYTEST_STOP_AT_LINE"):
        _stop_at(int(line))
    if any(name.startswith("COVERAGE_") for name in environment):
        from coverage import process_startup  # noqa: PLC0415 - most commands are not measured

        process_startup()


def _stop_at(line: int) -> None:
    """Stop an import by SIGSTOP when it has recorded this line: once, so that it can continue."""
    from graph.cli.import_progress import ProgressFile  # noqa: PLC0415 - other commands need it not

    save = ProgressFile.save

    async def stopping(self: Any, database: Any, progress: Any) -> None:
        await save(self, database, progress)
        if progress.line >= line:
            setattr(ProgressFile, "save", save)  # noqa: B010 - mypy rejects an assignment
            os.kill(os.getpid(), signal.SIGSTOP)

    setattr(ProgressFile, "save", stopping)  # noqa: B010 - as above


if __name__ == "__main__":
    become(**serve(socket.socket(fileno=int(sys.argv[1]))))
    from graph.cli.main import main

    main()
