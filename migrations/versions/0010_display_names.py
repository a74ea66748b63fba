"""The order by display name: users without one come last."""

import sqlalchemy as sa

from migrations.operations import create_index, drop_index
from migrations.scripts import dialect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# U+10FFFF sorts after every name.
LAST = {"postgresql": "chr(1114111)", "sqlite": "char(1114111)"}


def upgrade() -> None:
    name = sa.text(f"coalesce(display_name_key, {LAST[dialect()]})")
    create_index("ix_users_display_name_key_id", "users", [name, "id"])
    create_index("ix_users_status_display_name_key_id", "users", ["status", name, "id"])


def downgrade() -> None:
    drop_index("ix_users_status_display_name_key_id", "users")
    drop_index("ix_users_display_name_key_id", "users")
