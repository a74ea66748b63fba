"""Faults in a server's log, each with the number of its occurrences."""

import re
from collections import Counter
from collections.abc import Iterator

_FRAME = re.compile(r'  File ".*/(.+?/.+?)", line (\d+), in (\S+)')
_SIGNS = [
    "Task was destroyed",
    "was never retrieved",
    "a warning of Python",
    "Exception in callback",
]


def faults(text: str) -> list[str]:
    return [f"{n} times in the log: {fault}" for fault, n in Counter(_faults(text)).most_common()]


def _faults(text: str) -> Iterator[str]:
    lines = iter(text.splitlines())
    for line in lines:
        if "Traceback (most recent call last)" in line:
            yield _traceback(lines)
        elif sign := next((sign for sign in _SIGNS if sign in line), None):
            task = re.search(r"coro=<(\S+)\(", next(lines, ""))
            yield f"{sign}: {task[1]}" if task else line


def _traceback(lines: Iterator[str]) -> str:
    """Reads up to the line of the exception; returns it without the numbers that vary."""
    location = ""
    for line in lines:
        if frame := _FRAME.match(line):
            location = f"{frame[1]}:{frame[2]}, in {frame[3]}"
        elif line and not line[0].isspace():
            return f"{re.sub('[0-9]+|0x[0-9a-f]+', '…', line):.150} ({location})"
    return f"a traceback without an end ({location})"
