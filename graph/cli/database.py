"""What the commands share: a job on the database, tables, and errors in one line.

Exception
└── CliError  a command cannot be run; the message is for its user
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from alembic.util import CommandError
from rich.console import Console

from db import identity_key, migrations
from db.engine import Database
from db.errors import is_of_database, message_of
from db.identity_key import IdentityKeyError
from db.url import parse_url
from graph import logging
from graph.environment import log_notices
from graph.settings import Mode, Settings, load

log = structlog.get_logger("roster")

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, the head first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip(), markup=False)


def format_time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


class CliError(Exception):
    """One line for the operator: what is wrong and what to do."""


def begin() -> Settings:
    """Read the settings of a command, and log what its user should know of them."""
    settings = load()
    logging.configure(settings.log_format)
    log_notices(production=settings.mode is Mode.PRODUCTION)
    return settings


async def prepare(database: Database) -> None:
    """Check that the database can be used: SQLite migrates itself, PostgreSQL on command."""
    found, wanted = await migrations.current(database), migrations.newest()
    if not migrations.is_known(found):
        await check_newer(database, found)
    elif database.is_sqlite:
        await migrations.upgrade(database)
        return
    elif found != wanted:
        raise CliError(
            f"the database is at revision {found or 'none'}, not {wanted}: run `roster migrate`"
        )
    await identity_key.check(database)


async def check_newer(database: Database, found: str | None) -> None:
    """Check that a newer version's database can be used by this version too."""
    oldest = await migrations.min_compatible(database)
    if oldest is None or not migrations.is_known(oldest):
        raise CliError(
            f"the database belongs to a newer version of Roster: it is at revision {found}, and "
            f"this version knows revisions up to {migrations.newest()}. Install that version"
        )
    log.warning("the database belongs to a newer version, which is compatible", revision=found)


def prepare_existing(settings: Settings) -> None:
    """Check that there is a database, which must not be created: its data is what is asked for.

    A command that cron starts in another folder would create an empty one there, and report
    success for ever.
    """
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not _has_data(Path(url.database or "")):
        raise CliError(
            f"there is no directory in {database_name(settings)}: ROSTER_DATABASE_URL names it"
        )
    run(settings, prepare)


def _has_data(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def run(settings: Settings, job: Callable[[Database], Awaitable[T]]) -> T:
    """Do one job on the database, and turn what is wrong with it into a line.

    The limits of requests do not apply: a migration takes as long as it takes.
    """

    async def whole() -> T:
        try:
            return await job(database)
        finally:
            await database.close()

    database = settings.database(for_requests=False)
    try:
        database.check_file()
        return asyncio.run(whole())
    except IdentityKeyError as error:
        raise CliError(str(error)) from None
    except Exception as error:
        if not (is_of_database(error) or isinstance(error, CommandError)):
            raise
        detail = message_of(error)
        raise CliError(f"cannot use {database_name(settings)}: {detail}") from None


def database_name(settings: Settings) -> str:
    """Return where the database is, for people, and never how to get in."""
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return f"SQLite {Path(url.database or '').absolute()}"
    host = url.host or str(url.query.get("host", "localhost")).replace(",", ", ")
    name = url.database or url.username or "by default"
    return f"PostgreSQL {name} on {host}{f':{url.port}' if url.port else ''}"
