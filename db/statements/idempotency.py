"""Statements on idempotency keys."""

from datetime import datetime

from sqlalchemy import (
    Delete,
    Insert,
    delete,
    null,
)
from sqlalchemy.dialects.postgresql import insert

from db.models import (
    IdempotencyKey,
)


def expired_keys(now: datetime) -> Delete:
    return delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now)


def claim_key(digest: str, fingerprint: str, *, now: datetime, until: datetime) -> Insert:
    """Insert an idempotency key or take over an expired one. Otherwise returns no row."""
    row = {"fingerprint": fingerprint, "answer": null(), "expires_at": until}
    return (
        insert(IdempotencyKey)
        .values(digest=digest, **row)
        .on_conflict_do_update(
            index_elements=[IdempotencyKey.digest],
            set_=row,
            where=IdempotencyKey.expires_at <= now,
        )
        .returning(IdempotencyKey.digest)
    )
