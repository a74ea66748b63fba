"""PostgreSQL: how it is connected to, and what only it needs."""

from collections.abc import Awaitable, Generator, Mapping, Sequence
from math import inf
from typing import Any, Final

import asyncpg
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.errors import ReadOnlyError
from db.pool import PostgresPool, renew, watch

AUTOCOMMIT: Final[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
_CONNECT_SECONDS = 5


def engine(
    url: URL,
    *,
    statement_timeout: float | None = None,
    pool_pre_ping: bool = False,
    pool_max_age: float = inf,
    **options: Any,
) -> AsyncEngine:
    """Make an engine; with `pool_pre_ping` a connection that has rested is tried before use."""
    made = create_async_engine(
        url,
        connect_args={
            "async_creator_fn": _Connecting,
            "timeout": _CONNECT_SECONDS,
            "command_timeout": statement_timeout,
            "server_settings": {"application_name": "roster", "timezone": "UTC", "jit": "off"},
        },
        poolclass=PostgresPool,
        **options,
    )
    renew(made.sync_engine, max_age=pool_max_age)
    watch(made.sync_engine, pings=pool_pre_ping)
    return made


def fetch(driver: Any, text: str, arguments: Sequence[Any]) -> Awaitable[Sequence[Any]]:
    found: Awaitable[Sequence[Any]] = driver.fetch(text, *arguments)
    return found


async def check_writable(driver: Any) -> None:
    """Raise ReadOnlyError on a standby, and where the administrator has writes refused."""
    if await driver.fetchval("SHOW transaction_read_only") == "on":
        raise ReadOnlyError


class _Connecting:
    """A connection to PostgreSQL that is on its way once somebody waits for it, and not before.

    A read tries first whether there is one already (`db.reading`): asyncpg's own coroutine would
    complain then that nobody had waited for it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments = arguments
        self._options = options

    def __await__(self) -> Generator[Any, None, Any]:
        connecting: Generator[Any, None, Any] = asyncpg.connect(
            *self._arguments, **self._options
        ).__await__()
        return connecting
