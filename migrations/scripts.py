"""Helpers for migrations as SQL scripts (`roster migrate --sql`, PostgreSQL only)."""

from collections.abc import Collection
from typing import Any

from alembic import context, op
from alembic.runtime.migration import MigrationInfo


def is_script() -> bool:
    """Return whether SQL is printed, without a database to read from."""
    return context.is_offline_mode()


def dialect() -> str:
    return op.get_context().dialect.name


def require_empty(table: str) -> None:
    """Make the script fail if the table has rows, because only a program can convert them."""
    op.execute(
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM {table}) THEN RAISE EXCEPTION "  # noqa: S608 - a constant name
        f"'rows of {table} have to be converted: run `roster migrate` instead of this script'; "
        "END IF; END $$"
    )


def head(lock: int, lock_timeout: float) -> str:
    """Return the first lines: psql stops at an error, and no other migration runs.

    A session that waited for the lock would have a snapshot, for which CREATE INDEX CONCURRENTLY
    of the other migration waits. So the script does not wait.
    """
    return f"""\\set ON_ERROR_STOP on
SET lock_timeout = '{round(lock_timeout * 1000)}ms';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_min_messages = warning;
DO $$ BEGIN IF NOT pg_try_advisory_lock({lock}) THEN
  RAISE EXCEPTION 'another migration is running'; END IF; END $$;
"""


def tail(lock: int) -> str:
    return f"""SELECT pg_advisory_unlock({lock});
RESET lock_timeout;
RESET statement_timeout;
RESET idle_in_transaction_session_timeout;
RESET client_min_messages;
"""


def guard(step: MigrationInfo, heads: Collection[Any]) -> str:
    """Return a statement that undoes a migration if the database was at another revision.

    Then the transaction has not changed the revision. A program other than psql may continue after
    an error.
    """
    if not heads:  # the row was deleted
        return ""
    [revision] = heads
    before = ", ".join(step.source_revision_ids) or "base"
    return (
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM alembic_version "
        f"WHERE version_num = '{revision}' AND xmin = pg_current_xact_id()::xid) THEN "
        f"RAISE EXCEPTION 'the database was not at revision {before}'; END IF; END $$;"
    )
