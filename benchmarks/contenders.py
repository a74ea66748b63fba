"""The servers that are measured, each as one process on one database, and their start commands."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from benchmarks.dialects import ALIASES, ROSTER, Dialect, Paths
from benchmarks.load import CannotMeasure
from tests.support.process import free_port

_BIN = Path(sys.executable).parent
_START_SECONDS = 60


@dataclass(frozen=True)
class Contender:
    """A server to measure. `name` is its value for --only.

    {port} and {url} are replaced in `command` and `environment`. With `signs_in` it gets an API key
    of Roster. With `may_be_missing` it is skipped if it cannot be started.
    """

    name: str
    title: str
    command: Sequence[str]
    dialect: Dialect = field(default_factory=Dialect)
    environment: Mapping[str, str] = field(default_factory=dict)
    signs_in: bool = False
    may_be_missing: bool = False


def _uvicorn(app: str) -> Sequence[str]:
    flags = "--loop uvloop --http httptools --no-access-log --log-level warning --port {port}"
    return (sys.executable, "-m", "uvicorn", app, *flags.split())


_ROSTER = (str(_BIN / "roster"), "serve")
_ON = {"ROSTER_DATABASE_URL": "{url}", "ROSTER_PORT": "{port}"}
# Production mode without the limits that would reject the load: the rate, and the number of root
# fields.
_PRODUCTION = {
    "ROSTER_MODE": "production",
    "ROSTER_AUTH_API_KEYS": "true",
    "ROSTER_RATE_LIMIT": "100000000/minute",
    "ROSTER_MAX_ALIASES": str(ALIASES),
    "ROSTER_MAX_ROOT_FIELDS": str(ALIASES),
}
DEVELOPMENT: Final = Contender("roster", "Roster, development", _ROSTER, ROSTER, _ON)
PRODUCTION: Final = Contender(
    "production", "Roster, production", _ROSTER, ROSTER, _ON | _PRODUCTION, signs_in=True
)
DATABASE: Final = {"BENCH_DATABASE_URL": "{url}"}
FLOOR: Final = Contender(
    "floor", "bare ASGI, no GraphQL", _uvicorn("benchmarks.floor:app"), Paths(), DATABASE
)
TUTORIAL: Final = Contender(
    "tutorial", "tutorial", _uvicorn("benchmarks.tutorial:app"), environment=DATABASE
)
CACHES: Final = Contender(
    "caches",
    "tutorial with caches",
    _uvicorn("benchmarks.tutorial:app"),
    environment=DATABASE | {"BENCH_CACHES": "1"},
)
# Another tree of Roster (--against): the names of its two servers, and this tree's servers.
BEFORE: Final = {"before": DEVELOPMENT, "before-production": PRODUCTION}
PYTHON: Final = (TUTORIAL, CACHES, FLOOR, DEVELOPMENT, PRODUCTION)


def of_tree(tree: Path) -> Sequence[Contender]:
    """Return the servers of another tree, which has its own virtual environment."""
    command = tree.resolve() / ".venv" / "bin" / "roster"
    if not command.exists():
        raise CannotMeasure(f"{tree} has no .venv/bin/roster: run `make install` there")
    return [
        replace(now, name=name, title=f"{now.title}, before", command=(str(command), "serve"))
        for name, now in BEFORE.items()
    ]


@dataclass(frozen=True)
class Running:
    contender: Contender
    pid: int
    address: str
    headers: Mapping[str, str]

    def processor_seconds(self) -> float:
        """Return the CPU time since the start."""
        # The fields after the name, which is in parentheses: man proc_pid_stat.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(contender: Contender, url: str, headers: Mapping[str, str]) -> Iterator[Running]:
    """Start a server, yield it when it answers, and stop it at the end."""
    port = str(free_port())
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - fixed arguments
            [word.format(port=port, url=url) for word in contender.command],
            env=_environment(contender, port, url),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C only reaches this process, which then stops the server
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not _answers(process, address):
                output.seek(0)
                raise CannotMeasure(
                    f"{contender.title} does not start:\n{output.read().decode()[-2000:]}"
                )
            yield Running(contender, process.pid, address, headers)
        finally:
            _stop(process)


def _environment(contender: Contender, port: str, url: str) -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("ROSTER_", "BENCH_"))}
    given = contender.environment.items()
    return ours | {name: value.format(port=port, url=url) for name, value in given}


def _answers(process: "subprocess.Popen[bytes]", address: str) -> bool:
    """Return whether the server answers within the time limit, with any status."""
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(f"{address}/users/0", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return True
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
