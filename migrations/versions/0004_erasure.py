"""Erasure: the scheduled and actual time of a user's erasure, and the ERASED event."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE = ("CREATED", "UPDATED", "DEACTIVATED", "REACTIVATED", "DELETED", "RESTORED")
SCHEDULED = sa.text("erase_after IS NOT NULL")


def upgrade() -> None:
    op.add_column("users", sa.Column("erase_after", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True)))
    # Users that were erased before a downgrade are still erased.
    op.execute(
        "UPDATE users SET erased_at = updated_at WHERE status = 'DELETED' "
        "AND email_key = 'erased-' || id || '@erased.invalid'"
    )
    op.create_index(
        op.f("ix_users_erase_after"),
        "users",
        ["erase_after"],
        postgresql_where=SCHEDULED,
        sqlite_where=SCHEDULED,
    )
    allow(*BEFORE, "ERASED")
    op.create_index(op.f("ix_user_events_actor_id_id"), "user_events", ["actor_id", "id"])


def allow(*types: str) -> None:
    name = op.f("ck_user_events_usereventtype")
    with op.batch_alter_table("user_events") as events:
        events.drop_constraint(name, type_="check")
        listed = ", ".join(f"'{type_}'" for type_ in types)
        events.create_check_constraint(name, sa.text(f"type IN ({listed})"))


def downgrade() -> None:
    """Downgrade. Erased data is not restored, and the ERASED events are deleted."""
    op.drop_index(op.f("ix_user_events_actor_id_id"), "user_events")
    op.execute("DELETE FROM user_events WHERE type = 'ERASED'")
    allow(*BEFORE)
    op.drop_index(op.f("ix_users_erase_after"), "users")
    op.drop_column("users", "erased_at")
    op.drop_column("users", "erase_after")
