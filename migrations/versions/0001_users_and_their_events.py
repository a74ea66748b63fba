"""Users and their events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)
kept = sa.text("status != 'DELETED'")


def text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("username", text(64), nullable=False),
        sa.Column("username_key", text(192), nullable=False),
        sa.Column("email", text(254), nullable=False),
        sa.Column("email_key", text(762), nullable=False),
        sa.Column("display_name", text(200)),
        sa.Column("external_id", text(255)),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column(
            "status", one_of("userstatus", "ACTIVE", "DEACTIVATED", "DELETED"), nullable=False
        ),
        sa.Column("status_reason", text(500)),
        sa.Column("status_changed_at", moment, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("deleted_at", moment),
        sa.CheckConstraint(
            "(deleted_at IS NOT NULL) = (status = 'DELETED')", name=op.f("ck_users_deleted_at")
        ),
        sa.CheckConstraint(
            "is_active = (status = 'ACTIVE')", name=op.f("ck_users_is_active_follows_status")
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_users_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    for column in ("created_at", "updated_at", "username_key", "email_key", "status"):
        op.create_index(op.f(f"ix_users_{column}_id"), "users", [column, "id"])
    for column in ("username_key", "email_key", "external_id"):
        op.create_index(
            op.f(f"uq_users_{column}"),
            "users",
            [column],
            unique=True,
            postgresql_where=kept,
            sqlite_where=kept,
        )

    op.create_table(
        "user_events",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("user_id", key, nullable=False),
        sa.Column(
            "type",
            one_of(
                "usereventtype",
                "CREATED",
                "UPDATED",
                "DEACTIVATED",
                "REACTIVATED",
                "DELETED",
                "RESTORED",
            ),
            nullable=False,
        ),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor_kind", one_of("actorkind", "user", "service", "system"), nullable=False),
        sa.Column("actor_id", text(255)),
        sa.Column("actor_label", text(255)),
        sa.Column("reason", text(500)),
        sa.Column("request_id", text(64)),
        sa.Column(
            "changes", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("version_after", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_events_user_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_events")),
        sa.UniqueConstraint(
            "user_id", "version_after", name=op.f("uq_user_events_user_id_version_after")
        ),
    )
    op.create_index(op.f("ix_user_events_user_id_id"), "user_events", ["user_id", "id"])


def downgrade() -> None:
    op.drop_table("user_events")
    op.drop_table("users")
