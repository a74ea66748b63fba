"""`roster check`: tries what Roster needs, and says how to fix what fails."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import SecretStr

from db.checks.check import Caution, Check, Failure, Finding, Status, run_checks
from db.checks.inspected import Expected, File, Inspected, Server
from db.checks.lists import FILE_CHECKS, SERVER_CHECKS
from db.checks.replicas import replicas
from db.erasure_ledger.entries import LedgerError
from db.url import parse_replica_urls, parse_url
from graph.cli.database import console, database_name
from graph.environment import InvalidSettings
from graph.limits.storage import StorageUnusableError, check_storage
from graph.settings import Mode, Settings, load
from users.erase_replay import compare

_STYLES: Final = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAILED: "red",
    Status.NOT_CHECKED: "dim",
}


def check(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, for programs.")
    ] = False,
) -> None:
    """Check that the database offers all that Roster needs. Exits with code 1 if a check fails.

    Safe in production: it leaves no rows and no locks, and uses connections of its own.
    """
    settings: Settings | None = None
    try:
        settings = load()
        found = asyncio.run(_inspect(settings))
    except InvalidSettings as error:
        lines = str(error).splitlines()
        found = [Finding("settings", Status.FAILED, line) for line in lines]
    if as_json:
        print(json.dumps(_document(settings, found), indent=2))  # noqa: T201 - for programs
    else:
        _print(settings, found)
    if _overall(found) is Status.FAILED:
        raise typer.Exit(1)


async def _inspect(settings: Settings) -> list[Finding]:
    secret = settings.identity_secret
    expected = Expected(
        production=settings.mode is Mode.PRODUCTION,
        processes=settings.workers,
        pool_size=settings.pool_size,
        idle_transaction_timeout=settings.idle_transaction_timeout,
        identity_secret=secret.get_secret_value().encode() if secret else None,
    )
    found = [Finding("settings", Status.OK, f"{settings.mode} mode")]
    others = _other_checks(settings)
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        file = File(Path(url.database or ""), expected)
        return found + await run_checks((*FILE_CHECKS, *others), file)
    direct = settings.database_direct_url
    server = Server(url, parse_url(direct) if direct else url, settings.database_pooler, expected)
    checks: list[Check[Server]] = [*SERVER_CHECKS, *_replica_checks(settings), *others]
    try:
        return found + await run_checks(checks, server)
    finally:
        await server.close()


def _replica_checks(settings: Settings) -> tuple[Check[Server], ...]:
    if settings.read_database_url is None:
        return ()
    urls = parse_replica_urls(settings.read_database_url)
    return (Check("replicas", partial(replicas, urls), ("primary",)),)


def _other_checks(settings: Settings) -> tuple[Check[Inspected], ...]:
    """Return checks of what else the settings name. `db.checks.lists` has those of a database."""
    checks: list[Check[Inspected]] = []
    if settings.erasure_ledger is not None:
        run = partial(_erasure_ledger, settings)
        checks.append(Check("erasure-ledger", run, ("revision",)))
    if settings.rate_limit_storage is not None:
        run = partial(_rate_limit_storage, settings.rate_limit_storage, settings.rate_limit)
        checks.append(Check("rate-limit-storage", run))
    return tuple(checks)


async def _rate_limit_storage(url: SecretStr, rate: str | None, _: Inspected) -> str:
    try:
        name = await check_storage(url.get_secret_value())
    except StorageUnusableError as error:
        raise Failure(
            str(error), "correct it or the URL: until then each process counts alone"
        ) from None
    if rate is None:
        detail = f"nothing is counted by {name}: ROSTER_RATE_LIMIT is off"
        raise Caution(detail, "set it to a rate such as 6000/minute")
    return f"requests are counted by {name}"


async def _erasure_ledger(settings: Settings, _: Inspected) -> str:
    database = settings.database()
    ledger = database.erasure_ledger
    assert ledger
    try:
        found = await compare(database, ledger)
        await ledger.check_writable()
    except LedgerError as error:
        raise Failure(str(error), "users cannot be erased until the ledger can be used") from None
    finally:
        await database.close()
    if found.not_erased:
        raise Caution(
            f"{len(found.not_erased)} users who were erased are in the database, as after a "
            "restore",
            "`roster erase-replay` erases them again",
        )
    if found.incomplete:
        raise Caution(
            f"{len(found.incomplete)} erasures were interrupted, and may not have been done",
            "`roster erase-replay` names them",
        )
    if found.missing:
        raise Caution(
            f"{len(found.missing)} erased users are not in the ledger",
            "`roster erase-replay`, or a start of `roster serve`, adds them",
        )
    return f"{found.erased} users, all of them erased"


def _document(settings: Settings | None, found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "status": _overall(found),
        "version": version("roster"),
        "database": database_name(settings) if settings else None,
        "checks": [asdict(finding) for finding in found],
    }


def _print(settings: Settings | None, found: Sequence[Finding]) -> None:
    if settings:
        console.print(database_name(settings), markup=False)
    wide = max(len(finding.name) for finding in found)
    for finding in found:
        line = f"{finding.status:<11}  {finding.name:<{wide}}  {finding.detail}"
        console.print(line, style=_STYLES[finding.status], markup=False)
        if finding.fix:
            console.print(f"{'':11}  {'':{wide}}  fix: {finding.fix}", markup=False)
    numbers = {status: sum(f.status is status for f in found) for status in Status}
    console.print(", ".join(f"{number} {status}" for status, number in numbers.items() if number))


def _overall(found: Sequence[Finding]) -> Status:
    statuses = {finding.status for finding in found}
    for status in (Status.FAILED, Status.WARNING):
        if status in statuses:
            return status
    return Status.OK
