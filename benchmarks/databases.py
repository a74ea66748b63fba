"""PostgreSQL for a measurement: a server, and databases that are dropped after it."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import make_url

from tests.support import postgres


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of the server that ROSTER_BENCH_POSTGRES_URL names, or of one of our own."""
    if named := os.environ.get("ROSTER_BENCH_POSTGRES_URL"):
        yield named
        return
    with postgres.server() as url:
        yield url


@asynccontextmanager
async def scratch(admin: str, name: str) -> AsyncIterator[str]:
    """Give the URL of an empty database."""
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
        yield make_url(admin).set(database=name).render_as_string(hide_password=False)
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()
