"""Helpers for migrations as SQL scripts (`alembic upgrade head --sql`, PostgreSQL only)."""

from alembic import context, op


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
