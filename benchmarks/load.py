"""Runs wrk against one server: requests per second and latencies."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.dialects import MARK, Request

CONNECTIONS = 16
_PATIENCE = 10  # seconds
_SCRIPT = Path(__file__).with_name("load.lua")
_MISSING = (
    "There is no wrk, which sends the requests. It is Debian's and Ubuntu's package wrk "
    "(apt-get install wrk), and Homebrew's."
)


class CannotMeasure(Exception):
    """The measurement is impossible. The message says what to fix."""


@dataclass(frozen=True, slots=True)
class Load:
    """The results of one run of wrk. Latencies are in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    bytes_each: float
    busy: float = 0
    """The server's CPU time per request in milliseconds, without its database's."""


_firsts = count(1, 1_000_000)  # of the numbers that replace marks; a run uses fewer than a million


def wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise CannotMeasure(_MISSING)
    return found


def load(
    url: str,
    requests: Sequence[Request],
    seconds: int,
    headers: Mapping[str, str],
) -> Load:
    """Send requests for `seconds`. Raises CannotMeasure if one fails.

    If the server answers nothing in that time, the run is repeated with twice the time.
    """
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        file.writelines(request.line() for request in requests)
        file.flush()
        writes = MARK.encode() in requests[0].body
        given = {"content-type": "application/json", **headers}
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [
                wrk(),
                f"--connections={CONNECTIONS}",
                "--threads=1",
                "--timeout=30",
                f"--duration={seconds}",
                f"--script={_SCRIPT}",
                *(f"--header={name}: {value}" for name, value in given.items()),
                url,
                "--",
                file.name,
                str(next(_firsts) if writes else 0),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    came = json.loads(done.stdout.splitlines()[-1])
    if came["failed"]:
        raise CannotMeasure(f"{url}: {came['failed']} of {came['requests']} requests failed.")
    if not came["requests"]:
        if seconds > _PATIENCE:
            raise CannotMeasure(f"{url}: nothing was answered in {seconds} s.")
        return load(url, requests, seconds * 2, headers)
    return Load(
        requests=came["requests"],
        rate=came["requests"] / came["seconds"],
        p50=came["p50"],
        p99=came["p99"],
        bytes_each=came["bytes"] / came["requests"],
    )
