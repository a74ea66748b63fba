"""A transaction that another program leaves open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

INSERT = """INSERT INTO user_events (user_id, type, at, actor_kind, changes, version_after)
  SELECT id, 'UPDATED', now(), 'system', '[]', 99 FROM users LIMIT 1"""


@asynccontextmanager
async def left_open(database_url: str, name: str = "psql") -> AsyncIterator[asyncpg.Connection]:
    """Another program inserts an event and leaves its transaction open."""
    connection = await asyncpg.connect(
        database_url, server_settings={"application_name": name}, timeout=20
    )
    try:
        await connection.execute(f"BEGIN; {INSERT}")  # the transaction is idle only afterwards
        yield connection
    finally:
        connection.terminate()
