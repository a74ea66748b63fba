"""Erasure: when a user is to be erased and when they were, and the event that says so."""

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
    # Who was erased before a downgrade is so still.
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
    """Let events have these types."""
    name = op.f("ck_user_events_usereventtype")
    with op.batch_alter_table("user_events") as events:
        events.drop_constraint(name, type_="check")
        listed = ", ".join(f"'{type_}'" for type_ in types)
        events.create_check_constraint(name, sa.text(f"type IN ({listed})"))


def downgrade() -> None:
    """Go back; what was erased stays erased, but the events that say so cannot."""
    op.drop_index(op.f("ix_user_events_actor_id_id"), "user_events")
    op.execute("DELETE FROM user_events WHERE type = 'ERASED'")
    allow(*BEFORE)
    op.drop_index(op.f("ix_users_erase_after"), "users")
    op.drop_column("users", "erased_at")
    op.drop_column("users", "erase_after")
