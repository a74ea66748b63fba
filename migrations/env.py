"""Alembic's environment: uses Roster's connection if given, otherwise ROSTER_DATABASE_URL."""

import asyncio
import os
from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import Connection, Index
from sqlalchemy.schema import SchemaItem

from db.engine import Database
from db.migration_session import MIGRATION_LOCK, Patience, migrating
from db.models import Model
from migrations import scripts
from migrations.compatibility import record_compatibility


def migrate(connection: Connection) -> None:
    """Run the requested migrations.

    They are one transaction on SQLite and in a new database, otherwise one for each.
    """
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
        # Locks are released after each migration, and a failed one is tried again alone.
        transaction_per_migration=not (on_sqlite or context.config.attributes.get("is_new")),
        on_version_apply=_applied,
    )
    with context.begin_transaction():
        context.run_migrations()
    if on_sqlite:
        _set_foreign_keys(connection.execution_options(roster_writes=False), "ON")


def print_script() -> None:
    """Print the statements for PostgreSQL, in one transaction for each migration."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=Model.metadata,
        literal_binds=True,
        transactional_ddl=True,
        transaction_per_migration=True,
        on_version_apply=_applied,
    )
    context.static_output(scripts.head(MIGRATION_LOCK, Patience().lock_timeout))
    with context.begin_transaction():
        context.run_migrations()
    context.static_output(scripts.tail(MIGRATION_LOCK))


def _applied(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],
    run_args: Mapping[str, Any],  # noqa: ARG001 - Alembic passes it by name
) -> None:
    record_compatibility(ctx, step)
    if ctx.as_sql:
        ctx.impl.static_output(scripts.guard(step, heads))


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
    try:
        if database.is_sqlite:
            async with database.engine.connect() as connection:
                await connection.run_sync(migrate)
        else:
            async with migrating(database, Patience(), context.config.print_stdout) as connection:
                await connection.run_sync(migrate)
    finally:
        await database.close()


if context.is_offline_mode():
    print_script()
elif (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_by_url())
