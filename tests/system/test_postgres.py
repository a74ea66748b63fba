"""The limit of idle transactions that `roster migrate` sets in a PostgreSQL database."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from db import migrations
from tests.conftest import administer, temporary_role
from tests.conftest import postgres as url_of
from tests.support.process import run


@pytest.fixture
def odd_url() -> Iterator[str]:
    """A database whose name has to be quoted."""
    name = f"we\"ird %s ' {uuid4().hex}"
    quoted = name.replace('"', '""')
    administer(f'CREATE DATABASE "{quoted}"')
    yield url_of(name)
    administer(f'DROP DATABASE "{quoted}" WITH (FORCE)')


async def migrated(url: str, **settings: Any) -> str:
    """Runs `roster migrate` and returns its output without the line about the revision."""
    code, output = await run("migrate", ROSTER_DATABASE_URL=url, **settings)
    lines = output.splitlines()
    assert code == 0, output
    assert lines.pop().endswith(f" is at revision {migrations.newest()}.")
    return "\n".join(lines)


async def idle_limit(url: str) -> str:
    """Returns the limit that applies to other programs."""
    connection = await asyncpg.connect(url)
    limit: str = await connection.fetchval("SHOW idle_in_transaction_session_timeout")
    await connection.close()
    return limit


async def test_migrate_limits_idle_transactions_of_the_database(odd_url: str) -> None:
    unlimited = await idle_limit(odd_url)
    assert await migrated(odd_url, ROSTER_SET_DATABASE_IDLE_TIMEOUT="false") == ""
    assert await migrated(odd_url, ROSTER_IDLE_TRANSACTION_TIMEOUT="0") == ""
    assert await idle_limit(odd_url) == unlimited == "0"
    notice = "Transactions idle for 30 seconds are ended in this database."
    assert await migrated(odd_url) == notice
    assert await migrated(odd_url) == ""
    assert await idle_limit(odd_url) == "30s"
    assert "idle for 1.5 seconds" in await migrated(odd_url, ROSTER_IDLE_TRANSACTION_TIMEOUT="1.5")
    assert await idle_limit(odd_url) == "1500ms"


@pytest.fixture
def reader() -> Iterator[str]:
    with temporary_role("IN ROLE pg_read_all_data") as name:
        yield name


async def test_migrate_continues_with_a_notice_if_the_role_cannot_set_the_limit(
    odd_url: str, reader: str
) -> None:
    await migrated(odd_url, ROSTER_SET_DATABASE_IDLE_TIMEOUT="false")
    notice = await migrated(make_url(odd_url).set(username=reader).render_as_string())
    name = str(make_url(odd_url).database).replace('"', '""')
    assert notice == (
        "roster: idle transactions of other programs have no limit: ALTER DATABASE "
        f"\"{name}\" SET idle_in_transaction_session_timeout = '30000' takes the database's owner"
    )
    assert await idle_limit(odd_url) == "0"
