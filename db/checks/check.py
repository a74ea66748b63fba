"""What a check is, and how checks are run.

A check is a function of the inspected database. It returns what it found, or raises a Problem. To
add one, write the function and add a `Check` to a list: of one database in `db.checks`, or in
`graph.cli.check`. A check must be safe in production: it leaves no rows and no locks, and each of
its statements has a limit.

    Exception
    └── Problem      what was found, and how to fix it
        ├── Failure  Roster does not work so; the command fails
        └── Caution  Roster works, with a risk
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from db.errors import is_of_database, message_of

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

SECONDS: Final = 8.0  # for one check, which may connect several times


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Problem(Exception):
    def __init__(self, detail: str, fix: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


class Failure(Problem):
    """Roster does not work so."""


class Caution(Problem):
    """Roster works, with a risk."""


@dataclass(frozen=True, slots=True)
class Check(Generic[T_contra]):
    """`needs` are names of earlier checks. If one of them failed, this one is not run.

    `fix` is shown if the function raises an error of the database instead of a Problem.
    """

    name: str
    run: Callable[[T_contra], Awaitable[str]]
    needs: tuple[str, ...] = ()
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    status: Status
    detail: str
    fix: str | None = None


async def run_checks(checks: Iterable[Check[T]], inspected: T) -> list[Finding]:
    """Run checks in their order. Errors of the database are findings."""
    found: dict[str, Finding] = {}
    for check in checks:
        found[check.name] = _blocked(check, found) or await _run(check, inspected)
    return list(found.values())


def _blocked(check: Check[T], found: dict[str, Finding]) -> Finding | None:
    for name in check.needs:
        earlier = found.get(name)
        if earlier is not None and earlier.status in {Status.FAILED, Status.NOT_CHECKED}:
            return Finding(check.name, Status.NOT_CHECKED, f"needs: {name}")
    return None


async def _run(check: Check[T], inspected: T) -> Finding:
    try:
        async with asyncio.timeout(SECONDS) as limit:
            return Finding(check.name, Status.OK, await check.run(inspected))
    except Problem as problem:
        status = Status.WARNING if isinstance(problem, Caution) else Status.FAILED
        return Finding(check.name, status, problem.detail, problem.fix)
    except Exception as error:
        if not is_of_database(error):
            raise
        detail = f"no answer within {SECONDS:g} seconds" if limit.expired() else message_of(error)
        return Finding(check.name, Status.FAILED, detail, check.fix)
