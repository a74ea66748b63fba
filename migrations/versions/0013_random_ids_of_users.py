"""A random id for each user, which no other user gets after a restore."""

import sqlalchemy as sa
from alembic import op

from migrations.scripts import dialect

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default at first: PostgreSQL would rewrite the table, one value for each row.
    # Existing users keep NULL. A later value would be missing in the backups from before.
    op.add_column("users", sa.Column("random_id", sa.Uuid()))
    if dialect() == "postgresql":
        # For users that the previous version of Roster adds. SQLite cannot add such a default.
        op.alter_column("users", "random_id", server_default=sa.text("gen_random_uuid()"))


def downgrade() -> None:
    op.drop_column("users", "random_id")
