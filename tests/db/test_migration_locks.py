"""Migrations of PostgreSQL wait for locks without blocking requests, and can be interrupted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text

from db import migrations
from db.engine import Database
from db.migration_session import MIGRATION_LOCK, MigrationBlocked, Patience
from tests.conftest import opened
from tests.db.test_migrations import OLD_USER, expected_names, names, run

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
INDEX = "ix_users_display_name_key_id"
# So that a test waits for few attempts.
EAGER = Patience(lock_timeout=0.2, wait=60, pauses=(0.05, 0.1))
BRIEF = Patience(lock_timeout=0.2, wait=0.7, pauses=(0.05, 0.1))


@pytest.fixture
async def old(empty_url: str) -> AsyncIterator[Database]:
    """A database before the migrations that alter `users`, with a user."""
    async with opened(empty_url) as database:
        await run(database, "upgrade", "0003")
        async with database.engine.begin() as connection:
            await connection.execute(text(OLD_USER))
        yield database


@asynccontextmanager
async def transaction(database: Database, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold a transaction of another program open."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url, server_settings={"application_name": "report"})
    try:
        await connection.execute("BEGIN")
        await connection.execute(statement)
        yield connection
    finally:
        await connection.close()


async def is_valid(database: Database, index: str = INDEX) -> bool | None:
    async with database.engine.connect() as connection:
        valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)")
        found: bool | None = await connection.scalar(valid, {"index": index})
    return found


async def heard(said: list[str], beginning: str) -> str:
    while True:
        for line in said:
            if line.startswith(beginning):
                return line
        await asyncio.sleep(0.02)


async def test_migration_waits_for_a_transaction_without_blocking_readers(old: Database) -> None:
    said: list[str] = []
    async with transaction(old, "SELECT count(*) FROM users") as report:
        migration = asyncio.create_task(migrations.upgrade(old, EAGER, said.append))
        line = await heard(said, "Waiting")
        pid = report.get_server_pid()
        assert line.startswith(
            f"Waiting: a lock on users is held by process {pid} (report, idle in transaction, open "
        )
        async with old.engine.connect() as reader:
            for _ in range(5):  # each is behind a statement of the migration, or between two
                assert await reader.scalar(text("SELECT count(*) FROM users")) == 1
        assert not migration.done()
        await report.execute("COMMIT")
        assert await asyncio.wait_for(migration, 60) == migrations.newest()
    async with old.engine.connect() as connection:
        assert await connection.run_sync(names) == expected_names("postgresql")


async def test_migration_gives_up_and_names_the_transaction_that_blocks_it(old: Database) -> None:
    async with transaction(old, "SELECT count(*) FROM users") as report:
        with pytest.raises(MigrationBlocked) as raised:
            await migrations.upgrade(old, BRIEF)
        assert "a lock on users is held by process" in str(raised.value)
        assert f"process {report.get_server_pid()} (report, idle in tr" in str(raised.value)
        assert await migrations.current(old) == "0003"
    assert await migrations.upgrade(old, BRIEF) == migrations.newest()


async def test_migration_waits_for_another_one_and_gives_up(old: Database) -> None:
    said: list[str] = []
    lock = f"SELECT pg_advisory_lock({MIGRATION_LOCK})"
    async with transaction(old, lock) as other:
        holder = f"process {other.get_server_pid()} (report, idle in transaction, open for"
        with pytest.raises(MigrationBlocked) as raised:
            await migrations.upgrade(old, BRIEF, said.append)
        assert f"another migration was still running after 0.7 seconds: {holder}" in str(
            raised.value
        )
        assert said[0].startswith(f"Waiting for another migration: {holder}")
        migration = asyncio.create_task(migrations.upgrade(old, EAGER))
    assert await asyncio.wait_for(migration, 60) == migrations.newest()


async def test_migration_that_waited_for_a_newer_version_changes_nothing(
    database: Database,
) -> None:
    said: list[str] = []
    async with transaction(database, f"SELECT pg_advisory_lock({MIGRATION_LOCK})") as newer:
        migration = asyncio.create_task(migrations.upgrade(database, EAGER, said.append))
        await heard(said, "Waiting for another migration")
        await newer.execute("UPDATE alembic_version SET version_num = '9999'; COMMIT")
    with pytest.raises(migrations.NewerDatabase):
        await migration
    assert await migrations.current(database) == "9999"


async def test_new_database_is_set_up_in_one_transaction(empty_url: str) -> None:
    """Another migration must not see a revision in between, as of a database that is in use."""
    created = text(
        "SELECT count(DISTINCT xmin::text), count(*) > 20 FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace"
    )
    async with opened(empty_url) as database:
        await migrations.upgrade(database)
        async with database.engine.connect() as connection:
            assert (await connection.execute(created)).one() == (1, True)


@pytest.fixture
async def indexless(database: Database) -> Database:
    """A database before the migration of concurrent indexes, with a user."""
    await run(database, "downgrade", "0009")
    async with database.engine.begin() as connection:
        await connection.execute(text(OLD_USER))
    return database


async def test_concurrent_index_that_waits_is_built_once_transactions_end(
    indexless: Database,
) -> None:
    said: list[str] = []
    async with transaction(indexless, "UPDATE users SET version = version") as report:
        migration = asyncio.create_task(migrations.upgrade(indexless, EAGER, said.append))
        await heard(said, f"Waiting: a lock is held by process {report.get_server_pid()}")
        async with indexless.engine.begin() as writer:  # the build blocks no writes
            await writer.execute(text("UPDATE users SET display_name = 'x' WHERE false"))
        await report.execute("COMMIT")
        assert await asyncio.wait_for(migration, 60) == migrations.newest()
    assert await is_valid(indexless)


async def test_interrupted_concurrent_index_is_built_again(indexless: Database) -> None:
    async with transaction(indexless, "UPDATE users SET version = version"):
        with pytest.raises(MigrationBlocked):
            await migrations.upgrade(indexless, BRIEF)
    assert (await migrations.current(indexless), await is_valid(indexless)) == ("0009", False)
    assert await migrations.upgrade(indexless, BRIEF) == migrations.newest()
    assert await is_valid(indexless)


async def test_index_that_was_built_before_the_upgrade_is_kept(indexless: Database) -> None:
    build = f"CREATE INDEX {INDEX} ON users (coalesce(display_name_key, chr(1114111)), id)"
    find = text(f"SELECT '{INDEX}'::regclass::oid")
    async with indexless.engine.begin() as connection:
        await connection.execute(text(build))
        before = await connection.scalar(find)
    await migrations.upgrade(indexless)
    async with indexless.engine.connect() as connection:
        assert await connection.scalar(find) == before
