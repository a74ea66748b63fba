"""Lists: an index for each order of the users in one status, and for each filter."""

from alembic import op

from migrations.scripts import dialect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = [
    *(
        ("users", ["status", column, "id"])
        for column in ("created_at", "updated_at", "username_key", "email_key")
    ),
    ("users", ["status_changed_at"]),
    ("user_events", ["type", "id"]),
    ("user_events", ["at"]),
]


def upgrade() -> None:
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    if dialect() == "postgresql":
        op.create_index(
            op.f("ix_users_external_id_key_trgm"),
            "users",
            ["external_id_key"],
            postgresql_using="gin",
            postgresql_ops={"external_id_key": "gin_trgm_ops"},
        )


def downgrade() -> None:
    if dialect() == "postgresql":
        op.drop_index(op.f("ix_users_external_id_key_trgm"), "users")
    for table, columns in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
