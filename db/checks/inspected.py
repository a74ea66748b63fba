"""The databases that checks look at, each with connections of its own."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import asyncpg
from sqlalchemy import URL

from db.notifications import close
from db.poolers import Pooler
from db.pooling import Pooling, plain
from db.timing import DEFAULT

T = TypeVar("T")

_STATEMENT_SECONDS: Final = 3.0
_SQLITE_SECONDS: Final = 2.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Expected:
    """The settings that checks compare with."""

    production: bool
    processes: int
    pool_size: int
    idle_transaction_timeout: float
    identity_secret: bytes | None


class Inspected(Protocol):
    """A database that answers plain SQL."""

    @property
    def expected(self) -> Expected: ...

    async def query(self, text: str, *values: Any) -> Sequence[Sequence[Any]]: ...

    async def has_table(self, name: str) -> bool: ...


class Server:
    """PostgreSQL.

    Its connections send no SET and no named statements, which any pooler allows.
    """

    def __init__(self, url: URL, direct_url: URL, pooler: Pooler, expected: Expected) -> None:
        self.url, self.direct_url = url, direct_url
        self.pooler = pooler
        self.expected = expected
        self.pooling = Pooling.DIRECT  # of `url`; a check finds it out
        self._drivers: dict[str, asyncpg.Connection] = {}

    @property
    def has_direct_url(self) -> bool:
        return self.direct_url != self.url

    @property
    def is_local(self) -> bool:
        """Whether the server, if there is no pooler, is on this machine."""
        host = self.url.host or str(self.url.query.get("host", "/"))
        return self.pooling is Pooling.DIRECT and (host.startswith("/") or host in _LOOPBACK)

    async def connection(self) -> asyncpg.Connection:
        return await self._connection("usual", self.url)

    async def direct(self) -> asyncpg.Connection:
        """Return another connection than `connection`, even if both have the same URL."""
        return await self._connection("direct", self.direct_url)

    async def query(self, text: str, *values: Any) -> Sequence[Sequence[Any]]:
        return await ask(await self.connection(), text, *values)

    async def has_table(self, name: str) -> bool:
        [[found]] = await self.query("SELECT to_regclass($1::text) IS NOT NULL", name)
        return bool(found)

    async def close(self) -> None:
        for driver in self._drivers.values():
            await close(driver, DEFAULT)

    async def _connection(self, name: str, url: URL) -> asyncpg.Connection:
        driver = self._drivers.get(name)
        if driver is None or driver.is_closed():
            driver = self._drivers[name] = await plain(url)()
        return driver


async def ask(driver: asyncpg.Connection, text: str, *values: Any) -> Sequence[Sequence[Any]]:
    try:
        async with asyncio.timeout(_STATEMENT_SECONDS):
            rows: Sequence[Sequence[Any]] = await driver.fetch(text, *values)
    except TimeoutError:
        driver.terminate()
        raise TimeoutError("the database does not answer") from None
    return rows


class File:
    """A SQLite file. It is opened for each question, and never created."""

    def __init__(self, path: Path, expected: Expected) -> None:
        self.path = path
        self.expected = expected

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        def work() -> T:
            address = f"file:{quote(str(self.path.absolute()))}?mode=rw"
            with closing(
                sqlite3.connect(address, uri=True, timeout=_SQLITE_SECONDS, isolation_level=None)
            ) as connection:
                return function(connection)

        return await asyncio.to_thread(work)

    async def query(self, text: str, *values: Any) -> Sequence[Sequence[Any]]:
        return await self.run(lambda connection: connection.execute(text, values).fetchall())

    async def has_table(self, name: str) -> bool:
        found = await self.query("SELECT 1 FROM sqlite_master WHERE name = ?", name)
        return bool(found)
