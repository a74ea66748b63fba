"""PostgreSQL for a benchmark: a server, and databases that are dropped afterwards."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import make_url

from tests.support import postgres


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a server: ROSTER_BENCH_POSTGRES_URL, or one that is started here."""
    if named := os.environ.get("ROSTER_BENCH_POSTGRES_URL"):
        yield named
        return
    with postgres.server() as url:
        yield url


@asynccontextmanager
async def scratch(admin: str, name: str) -> AsyncIterator[str]:
    """Yield the URL of an empty database, and drop it at the end."""
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
        yield make_url(admin).set(database=name).render_as_string(hide_password=False)
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()
