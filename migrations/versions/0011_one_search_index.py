"""One trigram index for the searched keys, and one for scripts without spaces between words."""

import sqlalchemy as sa

from migrations.operations import create_index, drop_index
from migrations.scripts import dialect

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEYS = "(username_key || '\n' || email_key || '\n' || coalesce(display_name_key, ''))"
UNSPACED = (
    r"[\u2190-\u2bff\U0001f000-\U0001faff"
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f"
    r"\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
SPACED = rf"regexp_replace({KEYS}, '({UNSPACED})', ' \1 ', 'g')"
COLUMNS = ("username_key", "email_key", "display_name_key")


def upgrade() -> None:
    if dialect() != "postgresql":
        return
    create_index(
        "ix_users_keys_trgm",
        "users",
        [sa.text(f"{KEYS} gin_trgm_ops")],
        postgresql_using="gin",
    )
    create_index(
        "ix_users_unspaced_keys_trgm",
        "users",
        [sa.text(f"{SPACED} gin_trgm_ops")],
        postgresql_using="gin",
        postgresql_where=sa.text(f"({KEYS} ~ '{UNSPACED}') IS true"),
    )
    for column in COLUMNS:
        drop_index(f"ix_users_{column}_trgm", "users")


def downgrade() -> None:
    if dialect() != "postgresql":
        return
    for column in COLUMNS:
        create_index(
            f"ix_users_{column}_trgm",
            "users",
            [column],
            postgresql_using="gin",
            postgresql_ops={column: "gin_trgm_ops"},
        )
    drop_index("ix_users_unspaced_keys_trgm", "users")
    drop_index("ix_users_keys_trgm", "users")
