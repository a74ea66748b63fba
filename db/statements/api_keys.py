"""Statements on API keys."""

from datetime import datetime
from typing import cast

from sqlalchemy import (
    Table,
    Update,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from db.models import (
    ApiKey,
)

_API_KEYS = cast("Table", ApiKey.__table__)
API_KEY_COLUMNS = tuple(c for c in _API_KEYS.c if c.key != "digest")
API_KEY_BY_DIGEST = select(*API_KEY_COLUMNS).where(ApiKey.digest == bindparam("digest"))
API_KEYS = select(*API_KEY_COLUMNS).order_by(ApiKey.id)
ADD_API_KEY = insert(_API_KEYS).returning(ApiKey.id)


def revoke_api_key(key_id: int, now: datetime) -> Update:
    """Revoke a key.

    A second call keeps the first date. Returns no row if the key does not exist.
    """
    return (
        update(_API_KEYS)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, now))
        .returning(*API_KEY_COLUMNS)
    )


def mark_api_key_used(key_id: int, now: datetime, unless_since: datetime) -> Update:
    used = ApiKey.last_used_at
    return (
        update(_API_KEYS)
        .where(ApiKey.id == key_id, or_(used.is_(None), used < unless_since))
        .values(last_used_at=now)
    )
