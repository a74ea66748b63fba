"""Finds out how a URL leads to PostgreSQL: directly or through a pooler, and of which kind.

Exception
└── PoolerError  the URLs and the kind of pooler do not fit together; the message is one line
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy import URL

from db.connector import Connector, connecting
from db.notifications import Connect, close
from db.poolers import Pooler
from db.timing import DEFAULT, Timing

if TYPE_CHECKING:
    from db.engine import Database

_PID: Final = "SELECT pg_backend_pid()"
_IDENTITY: Final = "SELECT system_identifier, current_database() FROM pg_control_system()"
_ROUNDS: Final = 8  # on a busy pooler a client can get the same server connection several times


class PoolerError(Exception):
    """The database's URLs and the kind of pooler do not fit together. The message is one line."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(f"{detail}: {fix}")
        self.detail = detail
        self.fix = fix


NOT_SET: Final = PoolerError(
    "ROSTER_DATABASE_URL leads to a pooler in transaction mode",
    "set ROSTER_DATABASE_POOLER=transaction, and ROSTER_DATABASE_DIRECT_URL to a URL of the same "
    "database without the pooler",
)
NOT_DIRECT: Final = PoolerError(
    "ROSTER_DATABASE_DIRECT_URL leads to a pooler in transaction mode",
    "it has to lead to PostgreSQL itself",
)
OTHER_DATABASE: Final = PoolerError(
    "ROSTER_DATABASE_DIRECT_URL leads to another database than ROSTER_DATABASE_URL",
    "both have to name the same database",
)


class Pooling(StrEnum):
    DIRECT = "direct"
    SESSION = "session"
    TRANSACTION = "transaction"


def plain(url: URL, timing: Timing = DEFAULT) -> Connect:
    """Return a function that connects without SET and named statements, which any pooler allows."""
    return connecting(url, Connector(timing=timing, pooler=Pooler.TRANSACTION))


async def check(database: "Database") -> None:
    """Raise PoolerError if statements would fail at random, or reach another database."""
    if not database.is_sqlite:
        await check_urls(database.url, database.direct_url, database.pooler)


async def check_urls(url: URL, direct_url: URL, pooler: Pooler) -> Pooling:
    """Like `check`. Returns what `url` leads to."""
    found = await recognise(plain(url))
    if pooler is Pooler.NONE and found is Pooling.TRANSACTION:
        raise NOT_SET
    direct = found if direct_url == url else await recognise(plain(direct_url))
    if direct is Pooling.TRANSACTION:
        raise NOT_DIRECT
    if direct_url != url and await _identity(plain(url)) != await _identity(plain(direct_url)):
        raise OTHER_DATABASE
    return found


async def recognise(connect: Connect, timing: Timing = DEFAULT) -> Pooling:
    """Find out what a URL leads to. `connect` is a function that `plain` returned.

    PostgreSQL tells each client the id of its process. A pooler tells a number of its own. In
    transaction mode one client can get several processes, and several clients the same one.
    """
    async with _opened(connect, timing) as first:
        pid = await _pid(first, timing)
        if pid == first.get_server_pid():
            return Pooling.DIRECT
        with suppress(TimeoutError):  # in session mode, the pooler may have no connection left
            async with _opened(connect, timing) as second:
                for _ in range(_ROUNDS):
                    other = await _pid(second, timing)
                    if other == pid or await _pid(first, timing) != pid:
                        return Pooling.TRANSACTION
    return Pooling.SESSION


@asynccontextmanager
async def _opened(connect: Connect, timing: Timing) -> AsyncIterator[asyncpg.Connection]:
    driver = await connect()
    try:
        yield driver
    finally:
        await close(driver, timing)


async def _pid(driver: asyncpg.Connection, timing: Timing) -> int:
    try:
        async with asyncio.timeout(timing.answer):
            pid: int = await driver.fetchval(_PID)
    except TimeoutError:
        raise TimeoutError("a connection was accepted, and its statement not answered") from None
    return pid


async def _identity(connect: Connect, timing: Timing = DEFAULT) -> tuple[int, str]:
    async with _opened(connect, timing) as driver, asyncio.timeout(timing.answer):
        return tuple(await driver.fetchrow(_IDENTITY))
