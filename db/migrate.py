"""Alembic from inside: bring a database to the newest revision, and tell which one it has."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db.engine import Database


def config() -> Config:
    """Set up Alembic's own commands, wherever Roster is installed."""
    alembic = Config()
    alembic.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return alembic


async def upgrade(database: Database) -> str:
    """Migrate to the newest revision, which is returned; safe to run twice at once."""
    alembic = config()

    def run(connection: Connection) -> None:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")

    async with database.engine.connect() as connection:
        await connection.run_sync(run)
    return newest()


def newest() -> str:
    return ScriptDirectory.from_config(config()).get_current_head() or ""


async def current(database: Database) -> str | None:
    """Tell the revision a database has; None where it was never migrated."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: MigrationContext.configure(sync).get_current_revision()
        )
