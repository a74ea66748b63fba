"""API keys: how services sign in.

The text of a key is `roster_` and 256 random bits. The database has its SHA-256 alone: a slow hash
is for what people think up, and nobody guesses 256 bits however fast the hash is. A key is looked
up by that digest, so the time it takes says nothing of a secret, and no comparison has to take
constant time.
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
from db.statements import (
    ADD_API_KEY,
    API_KEY_BY_DIGEST,
    API_KEYS,
    mark_api_key_used,
    revoke_api_key,
)
from users.policy import Scope

PREFIX: Final = "roster_"  # by which whoever scans for leaked secrets knows one
USE_NOTED_EVERY: Final = timedelta(hours=1)
_SECRET_BYTES: Final = 32


class InvalidApiKey(Exception):
    """What is wrong with a key to be made, for whoever makes it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """All that is known of a key once its text is out of sight."""

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

    def opens(self, now: datetime) -> bool:
        """Tell whether somebody gets in with it."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_use_noted(self, now: datetime) -> bool:
        return self.last_used_at is not None and self.last_used_at >= now - USE_NOTED_EVERY


def known_scopes(names: Collection[str]) -> frozenset[Scope]:
    """Give the scopes among some names; others are somebody else's."""
    return frozenset(scope for scope in Scope if scope in names)


async def create(
    session: AsyncSession,
    name: str,
    scopes: Collection[Scope],
    *,
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Add a key; give it and its text, which nobody can find out again.

    Raises `InvalidApiKey` for a name that isn't a line of 1 to 100 characters, for no scopes, and
    for one that would have expired already.
    """
    _check(name, scopes, now, expires_at)
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
    """Find a key by its text, also one that no longer opens anything."""
    row = (await session.execute(API_KEY_BY_DIGEST, {"digest": _digest(text)})).one_or_none()
    return None if row is None else ApiKey.of(row)


async def every(session: AsyncSession) -> Sequence[ApiKey]:
    """List all keys, the earliest first; revoked and expired ones too."""
    return [ApiKey.of(row) for row in await session.execute(API_KEYS)]


async def revoke(session: AsyncSession, key_id: int, now: datetime) -> ApiKey | None:
    """Close a key for ever, and give it; None where there is none. Twice is as good as once."""
    row = (await session.execute(revoke_api_key(key_id, now))).one_or_none()
    return None if row is None else ApiKey.of(row)


async def note_use(session: AsyncSession, key_id: int, now: datetime) -> None:
    """Note that a key was used, at most once an hour."""
    await session.execute(mark_api_key_used(key_id, now, now - USE_NOTED_EVERY))


def _check(
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
