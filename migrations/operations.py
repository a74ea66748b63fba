"""Operations that block no requests of running servers. They can be repeated after an interruption.

Each commits the statements before it. A migration that uses them contains nothing else, because a
repetition would fail on what is already done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from db.migration_session import Patience
from migrations.scripts import dialect, is_script


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """Create an index, on PostgreSQL without blocking writes.

    An interrupted attempt leaves an invalid index, which is built again. A valid one is kept: it
    is complete, or an administrator has built it before the upgrade.
    """
    if not _is_used(table):
        op.create_index(op.f(name), table, columns, if_not_exists=True, **options)
        return
    with outside_transaction():
        if is_script() or _is_invalid(name):
            _drop_index(name, table)
        op.create_index(
            op.f(name), table, columns, if_not_exists=True, postgresql_concurrently=True, **options
        )


def drop_index(name: str, table: str) -> None:
    if not _is_used(table):
        op.drop_index(op.f(name), table, if_exists=True)
        return
    with outside_transaction():
        _drop_index(name, table)


def replace_check(name: str, table: str, condition: str) -> None:
    """Add a check constraint, in place of one with this name if there is one.

    PostgreSQL applies it to new rows first, and then checks the others without a lock that blocks
    reads or writes.
    """
    if dialect() == "sqlite":
        with op.batch_alter_table(table) as batch:
            if name in {
                check["name"] for check in sa.inspect(op.get_bind()).get_check_constraints(table)
            }:
                batch.drop_constraint(op.f(name), type_="check")
            batch.create_check_constraint(op.f(name), sa.text(condition))
        return
    op.drop_constraint(op.f(name), table, type_="check", if_exists=True)
    op.create_check_constraint(
        op.f(name), table, sa.text(condition), postgresql_not_valid=_is_used(table)
    )
    if not _is_used(table):
        return
    with outside_transaction():
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Commit, and run statements of PostgreSQL that wait for transactions without blocking others.

    They may wait for longer than `lock_timeout`.
    """
    patience: Patience = context.config.attributes.get("patience", Patience())
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = {max(1, round(patience.wait * 1000))}")
        yield
        op.execute(f"SET lock_timeout = {round(patience.lock_timeout * 1000)}")


def _drop_index(name: str, table: str) -> None:
    op.drop_index(op.f(name), table, if_exists=True, postgresql_concurrently=True)


def _is_used(table: str) -> bool:
    """Return whether a statement on the table can block requests for long.

    A new database is set up in one transaction, since its tables are empty.
    """
    if dialect() == "sqlite" or is_script():
        return is_script()
    row = op.get_bind().scalar(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1))
    return row is not None


def _is_invalid(name: str) -> bool:
    valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return op.get_bind().scalar(valid, {"name": name}) is False
