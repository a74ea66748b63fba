"""Runs Alembic from Python: upgrades a database, and reads its revision."""

from functools import partial
from importlib.resources import files
from typing import Final, TextIO

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError

from db import identity_key
from db.engine import Database
from db.migration_session import Announce, Attempts, Patience, migrating
from db.models import SchemaCompatibility

DEFAULT_PATIENCE: Final = Patience()
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_IDLE_LIMIT: Final = text(
    "SELECT option FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS option "
    "JOIN pg_database ON pg_database.oid = setdatabase "
    "WHERE datname = current_database() AND setrole = 0 "
    r"AND option LIKE 'idle\_in\_transaction\_session\_timeout=%'"
)
# ALTER DATABASE takes no parameters, so this query makes the server quote the name.
_SET_IDLE_LIMIT: Final = text(
    "SELECT format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = %L', "
    "current_database(), CAST(:milliseconds AS text))"
)


class NewerDatabase(Exception):
    """A newer version has migrated the database in the meantime."""


class MayNotAlter(Exception):
    """The role may not alter the database. The message is the statement for a role that may."""


def config() -> Config:
    alembic = Config()
    alembic.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return alembic


async def upgrade(
    database: Database, patience: Patience = DEFAULT_PATIENCE, announce: Announce = lambda _: None
) -> str:
    """Migrate to the newest revision and return it. Concurrent calls are safe.

    Raises MigrationBlocked, NewerDatabase, and IdentityKeyError if the secret of the digests has
    changed.
    """
    if database.is_sqlite:
        async with database.engine.connect() as connection:
            await connection.run_sync(_upgrade, "head")
    else:
        async with migrating(database, patience, announce) as connection:
            await _upgrade_in_steps(Attempts(database, connection, patience, announce), announce)
    await identity_key.apply_secret(database)
    return newest()


async def _upgrade_in_steps(attempts: Attempts, announce: Announce) -> None:
    found = await attempts.connection.run_sync(_current)
    if found is None:
        await attempts.run(_set_up)
        return
    if not is_known(found):
        raise NewerDatabase
    for script in pending(found):
        await attempts.run(partial(_upgrade, revision=script.revision, patience=attempts.patience))
        announce(f"Applied {script.revision}: {script.doc}")


def _set_up(connection: Connection) -> None:
    """Migrate a new database in one transaction: others see no revision in between."""
    alembic = config()
    alembic.attributes.update(connection=connection, is_new=True)
    command.upgrade(alembic, "head")


def _upgrade(connection: Connection, revision: str, patience: Patience = DEFAULT_PATIENCE) -> None:
    alembic = config()
    alembic.attributes.update(connection=connection, patience=patience)
    command.upgrade(alembic, revision)


def print_sql(found: str | None, output: TextIO) -> None:
    """Write the SQL that migrates a PostgreSQL database from a revision to the newest one."""
    alembic = config()
    alembic.output_buffer = output
    command.upgrade(alembic, f"{found or 'base'}:head", sql=True)


def pending(found: str | None) -> list[Script]:
    """Return the revisions after a known one, the oldest first."""
    directory = ScriptDirectory.from_config(config())
    return [*directory.iterate_revisions("head", found or "base")][::-1]


def oldest_code(script: Script) -> str | None:
    """Return the oldest revision whose code runs after this one, if this one declares it."""
    oldest: str | None = getattr(script.module, "min_compatible_revision", None)
    return oldest


async def limit_idle_transactions(database: Database, seconds: float) -> bool:
    """Set PostgreSQL's idle_in_transaction_session_timeout for the whole database.

    Applies to all programs from their next connection on. Returns whether the value changed. Raises
    MayNotAlter if the role lacks the privilege.
    """
    milliseconds = str(round(seconds * 1000))
    async with database.engine.connect() as connection:
        limit = (await connection.execute(_IDLE_LIMIT)).scalar()
        if limit == f"idle_in_transaction_session_timeout={milliseconds}":
            return False
        given = {"milliseconds": milliseconds}
        statement = (await connection.execute(_SET_IDLE_LIMIT, given)).scalar_one()
        try:
            await connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
                raise
            raise MayNotAlter(statement) from None
        await connection.commit()
    return True


def newest() -> str:
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def is_known(revision: str | None) -> bool:
    # The revision of a newer version's database is unknown here.
    known = ScriptDirectory.from_config(config()).walk_revisions()
    return revision is None or revision in {script.revision for script in known}


async def min_compatible(database: Database) -> str | None:
    async with database.engine.connect() as connection:
        if not await connection.run_sync(
            lambda sync: inspect(sync).has_table(SchemaCompatibility.__tablename__)
        ):
            return None
        oldest = select(SchemaCompatibility.min_compatible_revision)
        return (await connection.execute(oldest)).scalar_one_or_none()


async def current(database: Database) -> str | None:
    async with database.engine.connect() as connection:
        return await connection.run_sync(_current)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
