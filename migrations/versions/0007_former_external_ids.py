"""Former external ids: keyed digests, filled from deleted users and from events."""

import hmac
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.scripts import is_script, require_empty

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)
json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

USERS = 1_000  # users of a batch
EVENTS = 50_000  # range of event ids of a batch; few events change an external id
LINKED_WHEN_DELETED = sa.text("status = 'DELETED' AND external_id IS NOT NULL")
IN_EFFECT = sa.text("released_at IS NULL")

Former = tuple[int, str, datetime]  # user id, external id, and when the user lost it


def text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "identity_keys",
        sa.Column("id", key, nullable=False),
        sa.Column("key", text(64), nullable=False),
        sa.Column("secret_verifier", text(64)),
        sa.Column("created_at", moment, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_identity_keys_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_keys")),
    )
    op.create_table(
        "former_external_ids",
        sa.Column("id", key, nullable=False),
        sa.Column("digest", text(64), nullable=False),
        sa.Column("user_id", key, nullable=False),
        sa.Column("recorded_at", moment, nullable=False),
        sa.Column("released_at", moment),
        sa.Column("released_by", text(255)),
        sa.Column("release_reason", text(500)),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_former_external_ids_user_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_external_ids")),
    )
    op.create_index(
        op.f("uq_former_external_ids_digest_user_id"),
        "former_external_ids",
        ["digest", "user_id"],
        unique=True,
        postgresql_where=IN_EFFECT,
        sqlite_where=IN_EFFECT,
    )
    op.create_index(
        op.f("ix_users_external_id_of_deleted"),
        "users",
        ["external_id"],
        postgresql_where=LINKED_WHEN_DELETED,
        sqlite_where=LINKED_WHEN_DELETED,
    )
    if is_script():
        require_empty("users")
        op.execute(NEW_KEY)
    else:
        fill(new_key())
    for column in ("digest", "user_id"):
        op.create_index(op.f(f"ix_former_external_ids_{column}"), "former_external_ids", [column])


users = sa.table(
    "users",
    *(sa.column(name) for name in ("id", "external_id", "status")),
    sa.column("deleted_at", moment),
)
events = sa.table(
    "user_events",
    *(sa.column(name) for name in ("id", "user_id")),
    sa.column("at", moment),
    sa.column("changes", json),
)
identity_keys = sa.table(
    "identity_keys", sa.column("id"), sa.column("key"), sa.column("created_at", moment)
)
former_ids = sa.table(
    "former_external_ids",
    *(sa.column(name) for name in ("digest", "user_id")),
    sa.column("recorded_at", moment),
)


# 244 random bits (RFC 9562, section 5.4), generated where the script runs.
NEW_KEY = (
    "INSERT INTO identity_keys (id, key, created_at) VALUES (1, encode(sha256("
    "(gen_random_uuid()::text || gen_random_uuid()::text)::bytea), 'hex'), now())"
)


def new_key() -> bytes:
    made = secrets.token_bytes(32)
    row = {"id": 1, "key": made.hex(), "created_at": datetime.now(UTC)}
    op.get_bind().execute(identity_keys.insert(), [row])
    return made


def fill(key: bytes) -> None:
    """Record the external ids of deleted users, and those that events show as replaced."""
    for batch in chain(deleted(), changed()):
        record(key, batch)


def deleted() -> Iterator[list[Former]]:
    page = sa.select(users).where(users.c.status == "DELETED", users.c.external_id.is_not(None))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(
        page.where(users.c.id > last).order_by(users.c.id).limit(USERS)
    ).all():
        yield [(row.id, row.external_id, row.deleted_at) for row in rows]
        last = rows[-1].id


def changed() -> Iterator[list[Former]]:
    """Yield every external id in an event that was not erased, except those still in use."""
    connection = op.get_bind()
    mention = sa.cast(events.c.changes, sa.Text).like('%"externalId"%')
    last = 0
    while first := connection.scalar(sa.select(sa.func.min(events.c.id)).where(events.c.id > last)):
        last = first + EVENTS - 1
        rows = connection.execute(
            sa.select(events).where(events.c.id.between(first, last), mention)
        ).all()
        held = holders({row.user_id for row in rows})
        yield [
            (row.user_id, external_id, row.at)
            for row in rows
            for external_id in external_ids(row.changes)
            if held.get(row.user_id) != external_id
        ]


def external_ids(changes: Iterable[dict[str, Any]]) -> list[str]:
    mine = [change for change in changes if change["field"] == "externalId"]
    values = [change[side] for change in mine for side in ("before", "after")]
    return [value for value in values if value is not None]


def holders(ids: set[int]) -> dict[int, str]:
    """Return the current external ids of these users."""
    found: dict[int, str] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), USERS):
        some = users.c.id.in_(wanted[start : start + USERS])
        rows = op.get_bind().execute(sa.select(users).where(some, users.c.status != "DELETED"))
        found |= {row.id: row.external_id for row in rows}
    return found


def record(key: bytes, batch: list[Former]) -> None:
    """Insert digests without duplicates. A later batch can contain a user of an earlier one."""
    rows = [
        {"digest": digest(key, external_id), "user_id": user_id, "recorded_at": at}
        for user_id, external_id, at in batch
    ]
    if rows:
        op.get_bind().execute(postgresql.insert(former_ids).on_conflict_do_nothing(), rows)


def digest(key: bytes, external_id: str) -> str:
    return hmac.digest(key, external_id.encode("utf-8", "surrogatepass"), "sha256").hex()


def downgrade() -> None:
    """Downgrade. The ids of erased users are lost: a later upgrade cannot restore their digests."""
    op.drop_index(op.f("ix_users_external_id_of_deleted"), "users")
    op.drop_table("former_external_ids")
    op.drop_table("identity_keys")
