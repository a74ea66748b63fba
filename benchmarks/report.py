"""The tables of `make bench`, and a description of the machine."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.table import Table

from benchmarks.contenders import BEFORE, CACHES, DEVELOPMENT, FLOOR, TUTORIAL
from benchmarks.load import CONNECTIONS, Load
from benchmarks.operations import OPERATIONS
from benchmarks.options import SERVERS
from benchmarks.peers import PEERS
from tests.support.node import NODE

TITLES = {named.name: named.title for named in (*SERVERS, *OPERATIONS)} | {
    name: f"{now.title}, before" for name, now in BEFORE.items()
}
COMPARED_WITH = (TUTORIAL.name, CACHES.name, FLOOR.name)

_QUIET = 0.5


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run, as --json stores them. Servers and operations have --only's names."""

    machine: dict[str, str]
    load_before: float
    """The one-minute load average before the run."""
    seconds: int
    rounds: int
    loads: dict[str, dict[str, Load]] = field(default_factory=dict)
    """Operation -> server -> result."""
    memory: dict[str, float] = field(default_factory=dict)
    """Server -> memory at the end of the load, in MiB."""
    missing: dict[str, str] = field(default_factory=dict)
    """Server -> the error that kept it from starting."""
    figures: dict[str, float] = field(default_factory=dict)
    """Roster's process: name and unit -> value."""

    @classmethod
    def read(cls, text: bytes) -> "Results":
        kept = orjson.loads(text)
        kept["loads"] = {
            operation: {server: Load(**load) for server, load in loads.items()}
            for operation, loads in kept["loads"].items()
        }
        return cls(**kept)

    def rows(self, operation: str) -> Iterator[Sequence[str]]:
        """Yield the lines of an operation's table, the head first."""
        loads = self.loads[operation]
        compared = [name for name in COMPARED_WITH if name in loads]
        ratios = (f"times {TITLES[name]}" for name in compared)
        yield "server", "requests/s", "p50 ms", "p99 ms", "p99/p50", "CPU ms", *ratios
        for name, done in loads.items():
            yield (
                TITLES[name],
                f"{done.rate:.0f}",
                f"{done.p50:.2f}",
                f"{done.p99:.2f}",
                f"{done.p99 / done.p50:.1f}",
                f"{done.busy:.2f}",
                *(f"{done.rate / loads[other].rate:.2f}" for other in compared),
            )

    def told(self) -> Iterator[str]:
        """Yield the lines after the tables."""
        yield from (f"Without {TITLES[name]}: {why}" for name, why in self.missing.items())
        if self.memory:
            held = (f"{TITLES[name]} {held:.0f}" for name, held in self.memory.items())
            yield f"MiB of memory at the end of the load: {', '.join(held)}."
        yield from (f"{name}: {figure:.1f}" for name, figure in self.figures.items())
        yield (
            ", ".join(f"{n} {v}" for n, v in self.machine.items())
            + f", load before {self.load_before:.1f}."
        )
        if self.load_before > _QUIET:
            yield (
                "The machine was busy with other things before the measurement already: rates are "
                "low and noisy, and a server that needs little suffers least."
            )
        yield (
            f"Medians of {self.rounds} rounds of {self.seconds} s with {CONNECTIONS} connections. "
            "CPU is the server's own for each request, less its database's."
        )


def table(results: Results, operation: str) -> Table:
    head, *rows = results.rows(operation)
    made = Table(title=TITLES[operation], title_justify="left")
    for name in head:
        made.add_column(name, justify="left" if name == "server" else "right")
    for row in rows:
        made.add_row(*row)
    return made


def ratios(results: Results) -> Iterator[Table]:
    """Compare this tree with the older tree and with the peers. Above 1 this tree is better."""
    yield _ratios(
        results, "Requests a second, divided by those of", lambda now, other: now.rate / other.rate
    )
    yield _ratios(
        results,
        "CPU of a request: that of the other, divided by ours",
        lambda now, other: other.busy / now.busy,
    )


def _ratios(results: Results, title: str, ratio: Callable[[Load, Load], float]) -> Table:
    pairs = [(now.name, name, TITLES[name]) for name, now in BEFORE.items()]
    pairs += [(DEVELOPMENT.name, peer.name, peer.title) for peer in PEERS]
    made = Table(title=title, title_justify="left")
    made.add_column("operation")
    for *_, name in pairs:
        made.add_column(name, justify="right")
    for operation, loads in results.loads.items():
        cells = (
            f"{ratio(loads[now], loads[other]):.2f}" if {now, other} <= loads.keys() else "-"
            for now, other, _ in pairs
        )
        made.add_row(TITLES[operation], *cells)
    return made


def machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "Python": platform.python_version(),
        "Node": _output(NODE, "--version").removeprefix("v"),
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
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)  # noqa: S603 - fixed arguments
    return done.stdout.strip()
