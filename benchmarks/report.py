"""The tables of `make bench`, and the machine that they were made on."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table

from benchmarks.contenders import CACHES, FLOOR, Contender
from benchmarks.load import Load
from benchmarks.operations import Operation

_COMPARED_WITH = (CACHES, FLOOR)


def table(asked: Operation, loads: Mapping[str, Load], servers: Iterable[Contender]) -> Table:
    made = Table(title=asked.title, title_justify="left")
    made.add_column("server")
    compared = [other for other in _COMPARED_WITH if other.name in loads]
    for name in (
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99/p50",
        *(f"times {c.title}" for c in compared),
    ):
        made.add_column(name, justify="right")
    for server in servers:
        if server.name not in loads:
            continue
        done = loads[server.name]
        ratios = (f"{done.rate / loads[other.name].rate:.2f}" for other in compared)
        made.add_row(
            server.title,
            f"{done.rate:.0f}",
            f"{done.p50:.2f}",
            f"{done.p99:.2f}",
            f"{done.p99 / done.p50:.1f}",
            *ratios,
        )
    return made


def machine(postgres: str) -> dict[str, str]:
    """Tell what the measurements were made on."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "Python": platform.python_version(),
        "PostgreSQL": postgres,
        "Node": _output("node", "--version").removeprefix("v"),
        "wrk": _output("wrk", "-v").partition(" [")[0].removeprefix("wrk "),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return named[1] if named else platform.machine()


def _output(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        return "none"
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)  # noqa: S603 - our own
    return done.stdout.strip()
