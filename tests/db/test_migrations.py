from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from db import migrations
from db.engine import Database
from db.models import Model
from tests.conftest import opened
from tests.support.cursors import cursor_at, id_at
from users.email_address import Email
from users.text import fold

TABLES = {
    "users",
    "user_events",
    "feed_epochs",
    "primary_terms",
    "idempotency_keys",
    "api_keys",
    "identity_keys",
    "former_external_ids",
    "schema_compatibility",
}


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def indexes(connection: Connection, table: str) -> set[str | None]:
    if connection.dialect.name != "sqlite":
        return {index["name"] for index in inspect(connection).get_indexes(table)}
    created = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql <> '' AND tbl_name = :t"
    return set(connection.scalars(text(created), {"t": table}))


def names(connection: Connection) -> dict[str, set[str | None]]:
    """Returns the names of all constraints and indexes, by table."""
    inspector = inspect(connection)
    found: dict[str, set[str | None]] = {}
    for table in tables(connection):
        found[table] = {
            inspector.get_pk_constraint(table)["name"],
            *indexes(connection, table),
            *(u["name"] for u in inspector.get_unique_constraints(table)),
            *(f["name"] for f in inspector.get_foreign_keys(table)),
            *(c["name"] for c in inspector.get_check_constraints(table)),
        }
    return found


def expected_names(dialect: str) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for table in Model.metadata.tables.values():
        found[table.name] = {*(str(c.name) for c in table.constraints)}
        found[table.name] |= {
            *(
                str(i.name)
                for i in table.indexes
                if dialect == "postgresql" or "trgm" not in str(i.name)
            )
        }
    return found


async def run(database: Database, step: str, *revision: str) -> None:
    def run_step(connection: Connection) -> None:
        alembic = migrations.config()
        alembic.attributes["connection"] = connection
        getattr(command, step)(alembic, *revision)

    async with database.engine.connect() as connection:
        await connection.run_sync(run_step)


async def test_upgrade_downgrade_and_upgrade_create_the_expected_tables(empty_url: str) -> None:
    async with opened(empty_url) as database:
        for step, revision, expected in (
            ("upgrade", "head", TABLES),
            ("downgrade", "base", set()),
            ("upgrade", "head", TABLES),
        ):
            await run(database, step, revision)
            async with database.engine.connect() as connection:
                assert await connection.run_sync(tables) == expected


async def test_migration_leaves_foreign_key_checks_enabled(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/a.db", pool_size=1) as database:
        await migrations.upgrade(database)
        async with database.engine.connect() as connection:
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 1


# SQLAlchemy does not reflect SQLite's indexes on expressions. `names` reads them.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
async def test_migrated_schema_matches_the_models(database: Database, dialect: str) -> None:
    await run(database, "check")  # raises if there is a difference
    async with database.engine.connect() as connection:
        assert await connection.run_sync(names) == expected_names(dialect)


async def test_unmigrated_database_has_no_revision(empty_url: str) -> None:
    async with opened(empty_url) as database:
        assert await migrations.current(database) is None


async def test_upgrade_fills_the_search_keys_of_existing_users(empty_url: str) -> None:
    async with opened(empty_url) as database:
        await run(database, "upgrade", "0001")
        columns = "username, username_key, email, email_key, display_name, external_id"
        rest = "is_active, status, status_changed_at, version, created_at, updated_at"
        at = "'2026-01-31 12:00:00.000000'"
        async with database.engine.begin() as connection:
            await connection.execute(
                text(
                    f"INSERT INTO users ({columns}, {rest}) VALUES "  # noqa: S608
                    "('Ada', 'ada', 'Ada@b\u00fccher.example', 'ada@xn--bcher-kva.example',"
                    f" 'ÉMILE', 'HR-1', true, 'ACTIVE', {at}, 1, {at}, {at}),"
                    f"('bob', 'bob', 'bob@example.com', 'bob@example.com',"
                    f" NULL, NULL, true, 'ACTIVE', {at}, 1, {at}, {at})"
                )
            )
        await run(database, "upgrade", "head")
        async with database.engine.connect() as connection:
            found = await connection.execute(
                text("SELECT email_key, display_name_key, external_id_key FROM users ORDER BY id")
            )
        assert found.all() == [
            (Email.parse("ada@bücher.example").key, fold("Émile"), "hr-1"),
            ("bob@example.com", None, None),
        ]
        await run(database, "downgrade", "0001")
        async with database.engine.connect() as connection:
            found = await connection.execute(text("SELECT email_key FROM users ORDER BY id"))
        assert found.all() == [("ada@xn--bcher-kva.example",), ("bob@example.com",)]


async def test_each_migrated_database_gets_its_own_feed_epoch(empty_url: str) -> None:
    epochs = set()
    async with opened(empty_url) as database:
        for _ in range(2):
            await run(database, "upgrade", "head")
            async with database.engine.connect() as connection:
                found = await connection.execute(text("SELECT epoch_id FROM feed_epochs"))
            epochs |= set(found.scalars())
            await run(database, "downgrade", "0007")
    assert [len(epoch) for epoch in epochs] == [32, 32]


OLD_USER = """
  INSERT INTO users (username, username_key, email, email_key, is_active, status,
    status_changed_at, version, created_at, updated_at)
  VALUES ('ada', 'ada', 'ada@b.example', 'ada@b.example', true, 'ACTIVE',
    '2026-01-31 12:00:00.000000', 1, '2026-01-31 12:00:00.000000', '2026-01-31 12:00:00.000000')"""
OLD_EVENT = """
  INSERT INTO user_events (user_id, type, at, actor_kind, changes, version_after)
  VALUES (1, 'CREATED', '2026-01-31 12:00:00.000000', 'system', '[]', 1)"""


async def test_events_from_before_the_upgrade_have_cursors(empty_url: str) -> None:
    async with opened(empty_url) as database:
        await run(database, "upgrade", "0007")
        async with database.engine.begin() as connection:
            for statement in (OLD_USER, OLD_EVENT):
                await connection.execute(text(statement))
        await run(database, "upgrade", "head")
        assert id_at(await cursor_at(database, 1)) == 1
