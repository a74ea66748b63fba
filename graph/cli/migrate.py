"""`roster migrate`."""

import sys
from functools import partial
from typing import Annotated, Final

import typer

from db import identity_key, migrations, pooling
from db.engine import Database
from db.migration_session import MigrationBlocked, Patience
from db.migrations import DEFAULT_PATIENCE
from graph.cli.database import (
    CliError,
    begin,
    check_newer,
    console,
    database_name,
    errors,
    has_file,
    run,
)
from graph.settings import Settings

_COMPATIBLE: Final = "of a newer version that this one is compatible with"
_PENDING: Final = 3  # an error is 1, and a wrong option is 2


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Change nothing. List the migrations that are pending; exit with 0 if there are "
            "none, with 3 if there are some, and with 1 after an error.",
        ),
    ] = False,
    sql: Annotated[
        bool,
        typer.Option(
            "--sql", help="Change nothing. Print the SQL of the pending migrations, for psql."
        ),
    ] = False,
    servers_stopped: Annotated[
        bool,
        typer.Option(
            "--servers-stopped",
            help="Also apply migrations on which servers of the previous version cannot run.",
        ),
    ] = False,
    lock_timeout: Annotated[
        float,
        typer.Option(
            min=0.05,
            max=60,
            help="Seconds for which requests may wait behind a statement that waits for a lock. "
            "It is tried again afterwards. PostgreSQL only.",
        ),
    ] = DEFAULT_PATIENCE.lock_timeout,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            max=604_800,
            help="Seconds to wait for transactions that are in the way, or for another migration. "
            "PostgreSQL only.",
        ),
    ] = DEFAULT_PATIENCE.wait,
) -> None:
    """Migrate the database to the newest revision, while servers use it."""
    if check and sql:
        raise CliError("--check and --sql exclude each other")
    settings = begin()
    if check:
        _check(settings)
    elif sql:
        _print_sql(settings)
    else:
        patience = Patience(lock_timeout=lock_timeout, wait=wait)
        run(settings, pooling.check)
        revision = run(settings, partial(_migrate, servers_stopped, patience), directly=True)
        _limit_idle_transactions(settings)
        console.print(f"{database_name(settings)} is at revision {revision}.")


async def _migrate(servers_stopped: bool, patience: Patience, database: Database) -> str:  # noqa: FBT001 - bound by `partial`
    found = await migrations.current(database)
    if not migrations.is_known(found):
        return await _newer(database)
    if found is not None and not servers_stopped and (breaking := _breaking(found)):
        raise CliError(
            f"servers of the running version cannot use the database after migration {breaking}: "
            "stop all servers, and add --servers-stopped"
        )
    try:
        return await migrations.upgrade(
            database, patience, lambda text: errors.print(text, markup=False)
        )
    except migrations.NewerDatabase:
        return await _newer(database)
    except MigrationBlocked as blocked:
        reached = await migrations.current(database) or "none"
        raise CliError(
            f"{blocked}. The database is at revision {reached} and in order: end what is in the "
            "way, or choose a longer --wait, and run `roster migrate` again"
        ) from None


async def _newer(database: Database) -> str:
    found = await migrations.current(database)
    await check_newer(database, found)
    return f"{found}, {_COMPATIBLE}"


def _breaking(found: str) -> str | None:
    """Return the first pending revision that the code of revision `found` cannot run on."""
    scripts = migrations.pending(found)
    later = {script.revision for script in scripts}
    breaking = (s.revision for s in scripts if migrations.oldest_code(s) in later)
    return next(breaking, None)


def _check(settings: Settings) -> None:
    name = database_name(settings)
    found, known = run(settings, _found, directly=True) if has_file(settings) else (None, True)
    if not known:
        console.print(f"{name} is at revision {found}, {_COMPATIBLE}.", markup=False)
        return
    scripts = migrations.pending(found)
    if not scripts:
        console.print(f"{name} is at revision {found}. Nothing is pending.", markup=False)
        return
    state = "not set up yet" if found is None else f"at revision {found}"
    console.print(f"{name} is {state}. Pending:", markup=False)
    for script in scripts:
        console.print(f"  {script.revision}  {script.doc}", markup=False)
    raise typer.Exit(_PENDING)


async def _found(database: Database) -> tuple[str | None, bool]:
    """Return the revision, and whether this version knows it.

    Raises CliError or IdentityKeyError.
    """
    found = await migrations.current(database)
    known = migrations.is_known(found)
    if not known:
        await check_newer(database, found)
    if not known or found == migrations.newest():
        await identity_key.check(database)
    return found, known


def _print_sql(settings: Settings) -> None:
    if settings.database_url.startswith("sqlite"):
        raise CliError("--sql is for PostgreSQL. SQLite is migrated by `roster serve`")
    found, known = run(settings, _found, directly=True)
    if not known or not migrations.pending(found):
        print(f"-- The database is at revision {found}. Nothing is pending.")  # noqa: T201 - the output is written to a file
        return
    if found is not None and (breaking := _breaking(found)):
        print(f"-- Stop all servers first: those of the running version cannot use {breaking}.")  # noqa: T201 - as above
    migrations.print_sql(found, sys.stdout)


def _limit_idle_transactions(settings: Settings) -> None:
    # ROSTER_SET_DATABASE_IDLE_TIMEOUT: the limit applies to connections of other programs too.
    seconds = settings.idle_transaction_timeout

    async def limit(database: Database) -> bool:
        return not database.is_sqlite and await migrations.limit_idle_transactions(
            database, seconds
        )

    if not (settings.set_database_idle_timeout and seconds):
        return
    try:
        if run(settings, limit, directly=True):
            console.print(f"Transactions idle for {seconds:g} seconds are ended in this database.")
    except migrations.MayNotAlter as statement:
        errors.print(
            f"roster: idle transactions of other programs have no limit: {statement} takes the "
            "database's owner",
            markup=False,
        )
