"""Search: case-folded keys of every text, and trigram indexes on PostgreSQL."""

import unicodedata
from collections.abc import Callable
from typing import Any

import idna
import sqlalchemy as sa
from alembic import op

from migrations.scripts import dialect, is_script, require_empty

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEARCHED = ("username_key", "email_key", "display_name_key")
BATCH = 1_000


def text() -> sa.String:
    return sa.String().with_variant(sa.String(collation="C"), "postgresql")


def fold(value: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", value).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def upgrade() -> None:
    op.add_column("users", sa.Column("display_name_key", text()))
    op.add_column("users", sa.Column("external_id_key", text()))
    fill_keys()
    op.create_index(op.f("ix_users_external_id_key"), "users", ["external_id_key"])
    if dialect() == "postgresql":
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        for column in SEARCHED:
            op.create_index(
                op.f(f"ix_users_{column}_trgm"),
                "users",
                [column],
                postgresql_using="gin",
                postgresql_ops={column: "gin_trgm_ops"},
            )


users = sa.table(
    "users",
    *(sa.column(name) for name in ("id", "email", "email_key", "display_name", "display_name_key")),
    sa.column("external_id"),
    sa.column("external_id_key"),
)


def fill_keys() -> None:
    """Fill the new keys.

    From this revision on, the key of an e-mail address has a Unicode domain.
    """
    rewrite(
        lambda row: {
            "email_key": email_key(row.email, str),
            "display_name_key": row.display_name and fold(row.display_name),
            "external_id_key": row.external_id and fold(row.external_id),
        }
    )


def email_key(email: str, domain_form: Callable[[str], str]) -> str:
    local, _, domain = email.rpartition("@")
    return f"{fold(local)}@{domain_form(domain)}"


def rewrite(values: Callable[[Any], dict[str, Any]]) -> None:
    """Update these columns of every user, in batches."""
    if is_script():
        require_empty("users")
        return
    connection = op.get_bind()
    page = sa.select(users.c.id, users.c.email, users.c.display_name, users.c.external_id)
    last = 0
    while rows := connection.execute(
        page.where(users.c.id > last).order_by(users.c.id).limit(BATCH)
    ).all():
        wanted = [values(row) | {"row_id": row.id} for row in rows]
        columns: dict[str, Any] = {
            name: sa.bindparam(name) for name in wanted[0] if name != "row_id"
        }
        statement = users.update().where(users.c.id == sa.bindparam("row_id")).values(columns)
        connection.execute(statement, wanted)
        last = rows[-1].id


def downgrade() -> None:
    if dialect() == "postgresql":
        for column in SEARCHED:
            op.drop_index(op.f(f"ix_users_{column}_trgm"), "users")
        # The extension is kept, because other tables in the database may use it.
    op.drop_index(op.f("ix_users_external_id_key"), "users")
    op.drop_column("users", "external_id_key")
    op.drop_column("users", "display_name_key")
    rewrite(lambda row: {"email_key": email_key(row.email, to_ascii)})


def to_ascii(domain: str) -> str:
    return idna.encode(domain).decode("ascii")
