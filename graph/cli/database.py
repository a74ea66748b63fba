"""Shared code of the commands: database access, tables, errors.

Exception
└── CliError  a command fails; the message is for its user
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from alembic.util import CommandError
from rich.console import Console
from sqlalchemy import URL

from db import identity_key, migrations, pooling
from db.engine import Database
from db.erasure_ledger.entries import LedgerError
from db.errors import is_not_connected, is_of_database, message_of
from db.identity_key import IdentityKeyError
from db.pooling import PoolerError
from db.url import host_of, parse_url
from graph import logging
from graph.environment import log_notices
from graph.settings import Mode, Settings, load

log = structlog.get_logger("roster")

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip(), markup=False)


def format_time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


class CliError(Exception):
    """A command fails. The message is one line: the problem and how to fix it."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def begin() -> Settings:
    settings = load()
    logging.configure(settings.log_format)
    log_notices(production=settings.mode is Mode.PRODUCTION)
    return settings


async def prepare(database: Database) -> None:
    """Migrate an SQLite database; check the revision of a PostgreSQL database.

    Raises CliError if this version cannot use the database.
    """
    await pooling.check(database)
    found, wanted = await migrations.current(database), migrations.newest()
    if not migrations.is_known(found):
        await check_newer(database, found)
    elif database.is_sqlite:
        await migrations.upgrade(database)
        return
    elif found != wanted:
        state = "not set up yet" if found is None else f"at revision {found}, not {wanted}"
        raise CliError(f"the database is {state}: run `roster migrate`")
    await identity_key.check(database)


async def wait_and_prepare(
    settings: Settings,
    meanwhile: Callable[[], AbstractAsyncContextManager[None]],
    database: Database,
) -> None:
    """Like `prepare`, but wait until PostgreSQL accepts connections: at most `database_wait`.

    `meanwhile` is active during the wait.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + settings.database_wait
    async with AsyncExitStack() as waiting:
        is_waiting = False
        while True:
            try:
                return await prepare(database)
            except Exception as error:
                if database.is_sqlite or not is_not_connected(error) or clock() >= until:
                    raise
                if not is_waiting:
                    await waiting.enter_async_context(meanwhile())
                    message = f"Waiting for {database_name(settings)}: {message_of(error)}"
                    errors.print(message, markup=False)
                    is_waiting = True
            await asyncio.sleep(min(1.0, max(0.0, until - clock())))


async def check_newer(database: Database, found: str | None) -> None:
    """Raise CliError if the database of a newer version is incompatible with this version."""
    oldest = await migrations.min_compatible(database)
    if oldest is None or not migrations.is_known(oldest):
        raise CliError(
            f"the database belongs to a newer version of Roster: it is at revision {found}, and "
            f"this version knows revisions up to {migrations.newest()}. Install that version"
        )
    log.warning("the database belongs to a newer version, which is compatible", revision=found)


def prepare_existing(settings: Settings) -> None:
    """Like `prepare`, but raise CliError instead of creating an SQLite database."""
    require_file(settings)
    run(settings, prepare)


def require_file(settings: Settings) -> None:
    """Raise CliError if there is no SQLite database."""
    # A cron job with a wrong working directory would create an empty database there, and report
    # success on every run.
    if not has_file(settings):
        raise CliError(
            f"there is no directory in {database_name(settings)}: ROSTER_DATABASE_URL names it"
        )


def has_file(settings: Settings) -> bool:
    """Return whether an SQLite database exists. Connecting would create it."""
    url = parse_url(settings.database_url)
    return url.get_backend_name() != "sqlite" or has_data(Path(url.database or ""))


def has_data(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def run(
    settings: Settings, job: Callable[[Database], Awaitable[T]], *, directly: bool = False
) -> T:
    """Run one job on the database. Converts errors of the database to CliError.

    No statement timeout applies, since a migration can take long. `directly` avoids a pooler.
    """

    async def whole() -> T:
        try:
            return await job(database)
        finally:
            await database.close()

    database = settings.direct_database() if directly else settings.database(for_requests=False)
    try:
        return asyncio.run(whole())
    except (IdentityKeyError, LedgerError, PoolerError) as error:
        raise CliError(str(error)) from None
    except Exception as error:
        if not (is_of_database(error) or isinstance(error, CommandError)):
            raise
        detail = message_of(error)
        raise CliError(f"cannot use {name_of(database.url)}: {detail}") from None


def database_name(settings: Settings) -> str:
    return name_of(parse_url(settings.database_url))


def name_of(url: URL) -> str:
    # For messages: it must contain no credentials.
    if url.get_backend_name() == "sqlite":
        return f"SQLite {Path(url.database or '').absolute()}"
    name = url.database or url.username or "by default"
    return f"PostgreSQL {name} on {host_of(url)}{f':{url.port}' if url.port else ''}"
