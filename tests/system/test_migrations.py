from alembic import command
from sqlalchemy import Connection, inspect

from db import migrations
from db.engine import Database
from tests.conftest import opened
from tests.support.process import start

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


async def run(database: Database, step: str, *revision: str) -> None:
    def run_step(connection: Connection) -> None:
        alembic = migrations.config()
        alembic.attributes["connection"] = connection
        getattr(command, step)(alembic, *revision)

    async with database.engine.connect() as connection:
        await connection.run_sync(run_step)


async def test_concurrent_migrations_create_one_schema(empty_url: str) -> None:
    runs = [await start("migrate", ROSTER_DATABASE_URL=empty_url) for _ in range(4)]
    ends = [await run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, ends
    async with opened(empty_url) as database:
        assert await migrations.current(database) == migrations.newest()
        async with database.engine.connect() as connection:
            assert await connection.run_sync(tables) == TABLES
