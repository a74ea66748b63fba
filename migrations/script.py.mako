"""${message}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# The oldest revision whose code runs on this schema, if this migration changes that.
min_compatible_revision = None

# Servers of the previous version run during and after this migration. CONTRIBUTING.md says how to
# write it: indexes and checks of existing tables by migrations.operations, in a migration of their
# own; columns nullable or with a constant default; no change that rewrites a table.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
