"""How Alembic reaches the database: through a connection of ours, or by ROSTER_DATABASE_URL."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from db.engine import Database
from db.models import Model

# Any number will do, so long as nothing else in the database takes it: one migration at a time.
_MIGRATION_LOCK = 5_077_837


def migrate(connection: Connection) -> None:
    on_sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Model.metadata,
        compare_server_default=True,
        # SQLite changes a table by copying it; Alembic does so for whatever is said in a batch.
        render_as_batch=on_sqlite,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if not on_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        context.run_migrations()
    connection.commit()


async def migrate_by_url() -> None:
    database = Database(os.environ.get("ROSTER_DATABASE_URL", "sqlite:///./roster.db"))
    async with database.engine.connect() as connection:
        await connection.run_sync(migrate)
    await database.close()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_by_url())
