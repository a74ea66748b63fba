"""PgBouncer in both modes, with servers of Roster behind it."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.support.pgbouncer import PgBouncer, version
from tests.support.process import serving_process

# PgBouncer waits 15 seconds after a failed connection to PostgreSQL, unless it is told otherwise.
QUICK = {"server_login_retry": "1"}
SESSION: dict[str, Any] = {"pool_mode": "session", "default_pool_size": "40", **QUICK}
# Fewer connections to PostgreSQL than the two servers have to PgBouncer.
TRANSACTION: dict[str, Any] = {"pool_mode": "transaction", "default_pool_size": "6", **QUICK}
NAMED: dict[str, Any] = {**TRANSACTION, "max_prepared_statements": "100"}
supports_names = pytest.mark.skipif(
    version() < (1, 21), reason="PGBOUNCER names no PgBouncer that supports named statements"
)
modes = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(SESSION, id="session"),
        pytest.param(TRANSACTION, id="transaction"),
        pytest.param(NAMED, id="named", marks=supports_names),
    ],
)

KEYED = """mutation ($input: CreateUserInput!) { createUser(input: $input) {
  user { id version } replayed errors { code } } }"""


def settings_of(bouncer: PgBouncer, database_url: str, mode: dict[str, Any]) -> dict[str, Any]:
    pooler = "transaction" if mode["pool_mode"] == "transaction" else "none"
    if "max_prepared_statements" in mode:
        pooler = "transaction-named"
    return {
        "ROSTER_DATABASE_URL": bouncer.url,
        "ROSTER_DATABASE_DIRECT_URL": make_url(database_url).render_as_string(hide_password=False),
        "ROSTER_DATABASE_POOLER": pooler,
    }


@asynccontextmanager
async def two_servers(settings: dict[str, Any]) -> AsyncIterator[list[str]]:
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(serving_process(**settings)) for _ in range(2)]
        reading = [asyncio.create_task(_read_log(process)) for process, _ in started]
        try:
            yield [url for _, url in started]
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


async def _read_log(process: Process) -> None:
    """A server whose log nothing reads waits as soon as the pipe is full."""
    assert process.stdout
    while await process.stdout.read(65_536):
        pass
