"""PostgreSQL: the engine, and the fast path of a user's creation."""

from collections.abc import Awaitable, Mapping, Sequence
from math import inf
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.connector import Connector
from db.errors import ReadOnlyError
from db.outcome import Write
from db.pool import PostgresPool
from db.pool_listeners import renew, watch
from db.poolers import dialect_options
from db.reader import Reader
from db.statements.users import ADD_USER_WITH_EVENT
from db.timing import Timing

AUTOCOMMIT: Final[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT"}


def engine(
    url: URL,
    connector: Connector,
    *,
    timing: Timing,
    statement_timeout: float | None = None,
    pool_pre_ping: bool = False,
    pool_max_age: float = inf,
    **options: Any,
) -> AsyncEngine:
    made = create_async_engine(
        url,
        connect_args={
            "async_creator_fn": connector,
            "command_timeout": statement_timeout,
            **dialect_options(connector.pooler),
        },
        poolclass=PostgresPool,
        **options,
    )
    renew(made.sync_engine, timing, max_age=pool_max_age)
    watch(made.sync_engine, pings=pool_pre_ping)
    return made


def fetch(driver: Any, text: str, arguments: Sequence[Any]) -> Awaitable[list[Any]]:
    found: Awaitable[list[Any]] = driver.fetch(text, *arguments)
    return found


async def insert_user(reader: Reader, values: Mapping[str, Any], write: Write) -> list[Any]:
    """Insert a user and their event.

    Inserts neither, and returns no row, if a unique value is taken.
    """
    compiled = ADD_USER_WITH_EVENT.on(reader.dialect)
    arguments = compiled.arguments(values)

    async def ask(driver: Any) -> list[Any]:
        with write.committing():
            rows: list[Any] = await driver.fetch(compiled.text, *arguments)
        return rows

    return await reader.run(compiled.text, ask)


async def checkpoint(_: AsyncEngine) -> bool:
    # Dead rows are left to VACUUM, and the log to the server's archival.
    return True


async def check_writable(driver: Any) -> None:
    """Raise ReadOnlyError on a standby, or if the administrator made the server read-only."""
    if await driver.fetchval("SHOW transaction_read_only") == "on":
        raise ReadOnlyError
