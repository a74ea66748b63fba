"""`roster migrate` by several processes, and processes that are killed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db import migrations
from tests.conftest import opened
from tests.db.test_migrations import TABLES, tables
from tests.support.process import run, start
from tests.support.releases import additive
from tests.system.test_migration_scripts import dump
from users.seed import populate

postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


async def fill(url: str) -> None:
    """Add users: concurrent indexes are built only on tables with rows."""
    async with opened(url) as database:
        async for _ in populate(database, 500):
            pass


async def test_concurrent_migrations_create_one_schema(empty_url: str) -> None:
    runs = [await start("migrate", ROSTER_DATABASE_URL=empty_url) for _ in range(4)]
    ends = [await run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, ends
    async with opened(empty_url) as database:
        assert await migrations.current(database) == migrations.newest()
        async with database.engine.connect() as connection:
            assert await connection.run_sync(tables) == TABLES


@postgresql
async def test_concurrent_migrations_build_each_concurrent_index_once(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url)
    release = additive(tmp_path / "next")
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url} | release.settings
    ends = await asyncio.gather(*(run("migrate", **settings) for _ in range(4)))
    assert [code for code, _ in ends] == [0] * 4, ends
    output = "".join(text for _, text in ends)
    assert [output.count(f"Applied {revision}:") for revision in added()] == [1, 1, 1]
    assert await invalid_indexes(database_url) == 0


def added() -> list[str]:
    """Return the revisions of `additive`."""
    return [f"{int(migrations.newest()) + n:04}" for n in (1, 2, 3)]


async def invalid_indexes(url: str) -> int:
    connection = await asyncpg.connect(url)
    found: int = await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    await connection.close()
    return found


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold a transaction open that has written to `users`."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN; UPDATE users SET version = version WHERE id = 1")
        yield connection
    finally:
        await connection.close()


async def killed_at(point: str, **settings: Any) -> None:
    """Start `roster migrate`, and kill it once it prints a line that begins like this."""
    process = await start("migrate", **settings)
    assert process.stdout
    while line := await asyncio.wait_for(process.stdout.readline(), 60):
        if line.startswith(point.encode()):
            break
    assert line, f"it ended before {point!r}"
    process.send_signal(signal.SIGKILL)
    await process.communicate()


@postgresql
async def test_killed_migration_is_continued(
    database_url: str, twin_url: str, tmp_path: Path
) -> None:
    release = additive(tmp_path / "next")
    for url in (database_url, twin_url):
        await fill(url)
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url} | release.settings
    column, index, _ = added()
    async with writing(database_url) as writer:
        await killed_at("Waiting: a lock on users", **settings)
        await writer.execute("COMMIT")
    await killed_at(f"Applied {column}", **settings)
    async with writing(database_url) as writer:  # PostgreSQL completes the index without its client
        await killed_at("Waiting: a lock is held", **settings)
        continued = await start("migrate", **settings)
        assert continued.stdout
        waiting = await asyncio.wait_for(continued.stdout.readline(), 60)
        assert waiting.startswith(b"Waiting for another migration: process ")
        await writer.execute("COMMIT")
        output, _ = await asyncio.wait_for(continued.communicate(), 60)
    assert (continued.returncode, f"Applied {index}" in output.decode()) == (0, True)
    code, _ = await run("migrate", **settings | {"ROSTER_DATABASE_URL": twin_url})
    assert code == 0
    assert dump(database_url) == dump(twin_url)
    assert await invalid_indexes(database_url) == 0
