"""Alembic's environment: uses Roster's connection if given, otherwise ROSTER_DATABASE_URL."""

import asyncio
import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, Index, text
from sqlalchemy.schema import SchemaItem

from db.engine import Database
from db.models import Model

# An arbitrary number that nothing else in the database uses. It serialises migrations.
_MIGRATION_LOCK = 5_077_837


def migrate(connection: Connection) -> None:
    """Run the requested migrations in one transaction, after any other running migration."""
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        # Alembic changes a table by copying and dropping it. References to it must not cascade.
        _set_foreign_keys(connection, "OFF")
        connection = connection.execution_options(roster_writes=True)
    context.configure(
        connection=connection,
        target_metadata=Model.metadata,
        include_object=lambda thing, *_: _is_for(connection.dialect.name, thing),
        render_as_batch=on_sqlite,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if not on_sqlite:
            # A migration may compute for a long time between two statements.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        context.run_migrations()
    if on_sqlite:
        _set_foreign_keys(connection.execution_options(roster_writes=False), "ON")


def print_script() -> None:
    """Print the statements for PostgreSQL, in one transaction with the same lock as `migrate`."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=Model.metadata,
        literal_binds=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        context.run_migrations()


def _is_for(dialect: str, thing: SchemaItem) -> bool:
    """Return whether an object exists on this database. Alembic ignores `ddl_if`."""
    only_postgres = isinstance(thing, Index) and thing.kwargs.get("postgresql_using")
    return dialect == "postgresql" or not only_postgres


def _set_foreign_keys(connection: Connection, value: str) -> None:
    """Set the pragma outside a transaction: inside one it has no effect."""
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {value}")
    connection.commit()


async def migrate_by_url() -> None:
    names = ("ROSTER_DATABASE_DIRECT_URL", "ROSTER_DATABASE_URL", "DATABASE_URL")
    name = next((name for name in names if os.environ.get(name, "").strip()), None)
    if name is None:
        raise CommandError("ROSTER_DATABASE_URL has to name the database")
    try:
        database = Database(os.environ[name])
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from None
    async with database.engine.connect() as connection:
        await connection.run_sync(migrate)
    await database.close()


if context.is_offline_mode():
    print_script()
elif (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_by_url())
