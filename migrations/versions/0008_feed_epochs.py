"""Feed epochs."""

from datetime import UTC, datetime
from secrets import token_hex

import sqlalchemy as sa
from alembic import op

from migrations.scripts import dialect, is_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    epochs = op.create_table(
        "feed_epochs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epoch_id", text(32), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", text(500)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_epochs")),
    )
    if is_script():  # every database that runs the script needs its own epoch
        op.execute(
            "INSERT INTO feed_epochs (epoch_id, began_at) "
            "VALUES (replace(gen_random_uuid()::text, '-', ''), now())"
        )
        return
    now = datetime.now(UTC)
    if dialect() == "sqlite":  # SQLite stores UTC without a time zone
        now = now.replace(tzinfo=None)
    op.bulk_insert(epochs, [{"epoch_id": token_hex(16), "began_at": now}])


def downgrade() -> None:
    op.drop_table("feed_epochs")
