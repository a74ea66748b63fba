"""Commands for copies of an SQLite database: `roster backup` and `roster restore`."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from sqlalchemy import URL

from db import migrations, sqlite_backup
from db.engine import Database
from db.sqlite_backup import DamagedError
from db.url import parse_url
from feed import epochs
from graph.cli.database import (
    CliError,
    begin,
    console,
    database_name,
    errors,
    has_data,
    prepare,
    prepare_existing,
    run,
)
from graph.cli.erasures import replay_ledger, report
from graph.settings import Settings
from users.clock import now
from users.erase_replay import complete_ledger


def backup(
    file: Annotated[Path, typer.Argument(help="The new file, which must not exist.")],
) -> None:
    """Copy the SQLite database to a new file, while servers use it."""
    settings = begin()
    source = _path(settings)
    prepare_existing(settings)
    with _reported(file):
        sqlite_backup.write(source, file)
    console.print(f"Copied {database_name(settings)} to {file}.", markup=False)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `roster backup` has written.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,  # noqa: FBT002 - a flag in Typer
) -> None:
    """Replace the SQLite database by a backup, while servers use it.

    The backup is migrated. Users in the ledger of erasures are erased again, and a new epoch of the
    feed begins: clients that follow it start again from a list.
    """
    settings = begin()
    target = _path(settings)
    if not has_data(file):
        raise CliError(f"there is no backup in {file}")
    if not yes:
        typer.confirm(f"Replace {database_name(settings)} by {file}?", abort=True)
    if settings.erasure_ledger and has_data(target):
        _complete_ledger(settings)
    # The database is replaced in one step, by a copy that is ready for use: no server sees it
    # without the new epoch and the erasures, and nothing is lost if the backup cannot be used.
    with TemporaryDirectory(prefix=".restore-", dir=target.parent) as folder, _reported(file):
        ready = Path(folder) / target.name
        sqlite_backup.copy(file, ready)
        url = URL.create("sqlite", database=str(ready)).render_as_string()
        of_copy = settings.model_copy(update={"database_url": url})
        run(of_copy, _begin_epoch)
        found = replay_ledger(of_copy) if settings.erasure_ledger else None
        sqlite_backup.copy(ready, target)
    console.print(f"Replaced {database_name(settings)} by {file}.", markup=False)
    if found is not None:  # and users who were erased while the copy was prepared
        report(settings, found.with_next(replay_ledger(settings)))


async def _begin_epoch(database: Database) -> None:
    if await migrations.current(database) is None:
        raise CliError("this file is not a backup of Roster")
    await prepare(database)
    async with database.session() as session, session.transaction():
        await epochs.renew(session, now=now(), reason="restored a backup")


def _complete_ledger(settings: Settings) -> None:
    """Record what only the present database knows: erasures from before there was a ledger."""

    async def complete(database: Database) -> None:
        assert database.erasure_ledger
        if await migrations.current(database) == migrations.newest():
            await complete_ledger(database, database.erasure_ledger)

    try:
        run(settings, complete)
    except CliError as error:
        errors.print(f"roster: erasures of the present database are unknown: {error}", markup=False)


def _path(settings: Settings) -> Path:
    url = parse_url(settings.database_url)
    if url.get_backend_name() != "sqlite":
        raise CliError(
            "this command is for SQLite. PostgreSQL has pg_dump, pg_basebackup and continuous "
            "archiving: see docs/operations.md"
        )
    return Path(url.database or "")


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise CliError(f"{file} exists already: choose a new name") from None
    except OSError as error:
        raise CliError(f"cannot write {file}: {os.strerror(error.errno or 0)}") from None
    except (DamagedError, sqlite3.Error) as error:
        raise CliError(str(error)) from None
