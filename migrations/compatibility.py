"""Records the oldest revision whose code runs on the schema (`SchemaCompatibility`).

A revision that older code cannot run on declares it by `min_compatible_revision`.
"""

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import Integer, String, column, table

from db.migrations import oldest_code

_TABLE = table(
    "schema_compatibility", column("id", Integer), column("min_compatible_revision", String)
)


def record_compatibility(applied: MigrationContext, step: MigrationInfo) -> None:
    script = step.up_revision
    assert isinstance(script, Script)
    if oldest_code(script) is None:
        return
    newest = script.revision if step.is_upgrade else str(script.down_revision)
    history = context.script.iterate_revisions(newest, "base")
    oldest = next(filter(None, map(oldest_code, history)), None)
    if oldest is not None:  # revision 0009 created the table
        row = _TABLE.update().where(_TABLE.c.id == 1)
        applied.execute(row.values(min_compatible_revision=oldest))
