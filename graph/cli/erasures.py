"""Commands after a restore: `roster after-restore`, and `roster erase-replay` as a part of it."""

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

import structlog
import typer

from db.engine import Database
from db.erasure_ledger.entries import Entry, LedgerError, State
from db.erasure_ledger.opening import open_ledger
from db.models import REASON_LENGTH
from feed import epochs
from graph.cli.database import (
    CliError,
    begin,
    console,
    database_name,
    errors,
    format_time,
    prepare_existing,
    run,
)
from graph.settings import Settings
from users.clock import now
from users.erase_replay import Comparison, complete_ledger, replay, settle

log = structlog.get_logger("roster")

_NO_LEDGER = "ROSTER_ERASURE_LEDGER is not set"


class Incomplete(StrEnum):
    REPORT = "report"
    ERASE = "erase"
    DISMISS = "dismiss"


_Incomplete = Annotated[
    Incomplete,
    typer.Option(
        help="What to do about erasures that a crash interrupted, if only the lost database knew "
        "whether they were done."
    ),
]


def erase_replay(incomplete: _Incomplete = Incomplete.REPORT) -> None:
    """Erase users again that a restore has brought back.

    They are in the ledger of erasures. It can be interrupted and repeated.
    """
    settings = begin()
    if settings.erasure_ledger is None:
        raise CliError(f"{_NO_LEDGER}: there is no ledger to replay")
    prepare_existing(settings)
    report(settings, replay_ledger(settings, incomplete))


def after_restore(
    reason: Annotated[
        str, typer.Option(help=f"Why, for the record: at most {REASON_LENGTH} characters.")
    ] = "restored the database",
    incomplete: _Incomplete = Incomplete.REPORT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,  # noqa: FBT002 - a flag in Typer
) -> None:
    """Prepare a restored PostgreSQL database, or SQLite file, before servers use it.

    Users that the ledger of erasures contains are erased again, and a new epoch of the feed begins:
    clients that follow it start again from a list. `roster restore` does the same.
    """
    if not 0 < len(reason.strip()) <= REASON_LENGTH:
        raise CliError(f"a reason has from 1 to {REASON_LENGTH} characters")
    settings = begin()
    prepare_existing(settings)
    if not yes:
        typer.confirm(f"Was {database_name(settings)} restored?", abort=True)
    found = replay_ledger(settings, incomplete) if settings.erasure_ledger else None

    async def renew(database: Database) -> int:
        async with database.session() as session, session.transaction():
            epoch = await epochs.renew(session, now=now(), reason=reason.strip())
        await database.notify("after-restore")
        return epoch

    console.print(f"Started epoch {run(settings, renew)} of the feed.")
    if found is None:
        console.print(f"{_NO_LEDGER}: users who were erased since the backup are back.")
    else:
        report(settings, found)


def replay_ledger(settings: Settings, incomplete: Incomplete = Incomplete.REPORT) -> Comparison:
    """Erase users of the ledger again. The settings have a ledger."""

    async def job(database: Database) -> Comparison:
        ledger = open_ledger(settings.erasure_ledger or "")
        try:
            found = await replay(database, ledger)
            if found.incomplete and incomplete is not Incomplete.REPORT:
                is_erased = incomplete is Incomplete.ERASE
                state = State.ERASED if is_erased else State.DISMISSED
                await settle(ledger, found.incomplete, state)
                found = found.with_next(await replay(database, ledger))
            return found
        finally:
            await ledger.close()

    # Erasures of a replay are in the ledger already.
    return run(settings.model_copy(update={"erasure_ledger": None}), job)


def report(settings: Settings, found: Comparison) -> None:
    """Print what was done. Exits with code 1 if an erasure is incomplete."""
    console.print(
        f"Erased {len(found.not_erased)} users again in {database_name(settings)}. Of the others "
        f"in the ledger, {found.erased} were erased already and {found.absent} are not in this "
        "database.",
        markup=False,
    )
    if found.missing:
        console.print(f"Added {len(found.missing)} erasures of this database to the ledger.")
    if found.unreadable:
        console.print(f"{found.unreadable} entries of the ledger were cut off by a crash.")
    if found.incomplete:
        _print_incomplete(found.incomplete)
        raise typer.Exit(1)


def _print_incomplete(begun: Collection[Entry]) -> None:
    for entry in begun:
        errors.print(
            f"roster: the erasure of user {entry.row.user_id} was interrupted on "
            f"{format_time(entry.at)}, and may not have been done",
            style="red",
        )
    errors.print(
        "Erase these users again, or decide for all: `roster erase-replay --incomplete erase` or "
        "`--incomplete dismiss`"
    )


async def check_at_start(database: Database) -> None:
    """Like `check_ledger`, but only log that the ledger cannot be used."""
    try:
        await check_ledger(database)
    except LedgerError as error:
        log.error("no user can be erased: the ledger cannot be used", cause=str(error))  # noqa: TRY400 - it has no details


async def check_ledger(database: Database) -> None:
    """Log what the ledger says about the database. Raises LedgerError.

    Adds erasures to the ledger that were interrupted and done.
    """
    if database.erasure_ledger is None:
        return
    found = await complete_ledger(database, database.erasure_ledger)
    if found.not_erased:
        log.error(
            "users who were erased are in the database: a restore has brought them back. "
            "Run `roster erase-replay`",
            users=len(found.not_erased),
        )
    if found.incomplete:
        ids = [entry.row.user_id for entry in found.incomplete]
        log.warning("erasures were interrupted, and may not have been done", users=ids)
