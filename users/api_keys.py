"""API keys: credentials of services.

The text of a key is `roster_` and 256 random bits. The database stores only its SHA-256 digest. A
fast hash is sufficient, because 256 random bits cannot be guessed. Keys are looked up by digest, so
the duration of a lookup reveals nothing about the text.

    Exception
    └── InvalidApiKey    a key that cannot be created
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import API_KEY_NAME_LENGTH
from db.statements.api_keys import (
    ADD_API_KEY,
    API_KEY_BY_DIGEST,
    API_KEYS,
    mark_api_key_used,
    revoke_api_key,
)
from users.policy import Scope

PREFIX: Final = "roster_"  # recognised by scanners for leaked secrets
_USE_INTERVAL: Final = timedelta(hours=1)
_SECRET_BYTES: Final = 32


class InvalidApiKey(Exception):
    """The name, scopes or expiry of a new key are invalid. The message names the rule."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key, without its text."""

    id: int
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> "ApiKey":
        columns = dict(row._mapping)  # noqa: SLF001 - its public name
        return cls(**columns | {"scopes": known_scopes(columns["scopes"])})

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_use_recorded(self, now: datetime) -> bool:
        return self.last_used_at is not None and self.last_used_at >= now - _USE_INTERVAL


def known_scopes(names: Collection[str]) -> frozenset[Scope]:
    return frozenset(scope for scope in Scope if scope in names)


async def create(
    session: AsyncSession,
    name: str,
    scopes: Collection[Scope],
    *,
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Returns it with its text, which is not stored.

    Raises InvalidApiKey unless the name is one line of 1 to 100 characters, `scopes` is not empty
    and the expiry is in the future.
    """
    _validate(name, scopes, now, expires_at)
    text = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    columns: dict[str, Any] = {
        "name": name,
        "created_at": now,
        "expires_at": expires_at,
    }
    row = columns | {"digest": _digest(text), "scopes": sorted(scopes)}
    key_id = (await session.execute(ADD_API_KEY, row)).scalar_one()
    return ApiKey(id=key_id, scopes=frozenset(scopes), **columns), text


async def find(session: AsyncSession, text: str) -> ApiKey | None:
    """Find a key by its text, even if it is revoked or expired."""
    row = (await session.execute(API_KEY_BY_DIGEST, {"digest": _digest(text)})).one_or_none()
    return None if row is None else ApiKey.of(row)


async def list_all(session: AsyncSession) -> Sequence[ApiKey]:
    return [ApiKey.of(row) for row in await session.execute(API_KEYS)]


async def revoke(session: AsyncSession, key_id: int, now: datetime) -> ApiKey | None:
    """Revoke a key. Idempotent. Returns None if there is no such key."""
    row = (await session.execute(revoke_api_key(key_id, now))).one_or_none()
    return None if row is None else ApiKey.of(row)


async def record_use(session: AsyncSession, key_id: int, now: datetime) -> None:
    """Record that a key was used, at most once an hour."""
    await session.execute(mark_api_key_used(key_id, now, now - _USE_INTERVAL))


def _validate(
    name: str, scopes: Collection[Scope], now: datetime, expires_at: datetime | None
) -> None:
    if not name.strip() or len(name) > API_KEY_NAME_LENGTH or not name.isprintable():
        raise InvalidApiKey(f"a key's name is a line of 1 to {API_KEY_NAME_LENGTH} characters")
    if not scopes:
        raise InvalidApiKey("a key needs at least one scope")
    if expires_at is not None and expires_at <= now:
        raise InvalidApiKey("a key cannot expire before it is made")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
