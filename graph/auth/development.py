"""Tokens of development servers, by which a developer acts as a user with some scopes.

`roster token` signs them, and servers in development mode accept them. They name a user by the id
in the database, so that the user needs no `externalId`. The key is derived from the random key of
the database: there is no file to look after, all processes have the same key, and a token is not
valid for another database.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import jwt
from pydantic import SecretStr
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db import identity_key
from db.models import UserStatus
from db.statements.external_ids import USER_BY_ID
from graph.api.global_ids import database_id
from graph.auth.issuers import Issuer
from graph.auth.tokens import MAX_BYTES, Claims, InvalidToken, TokenVerifier
from users.policy import Scope

ISSUER: Final = "roster-development"
_PURPOSE: Final = "\0development"  # the NUL makes it an impossible external id


async def sign(
    session: AsyncSession,
    user: Row[int, str, UserStatus],
    scopes: Collection[Scope],
    *,
    now: datetime,
    until: datetime,
) -> str:
    """Return a token for a row with `id` and `username`. Raises IdentityKeyError."""
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": str(user.id),
        "preferred_username": user.username,
        "iat": int(now.timestamp()),
        "exp": int(until.timestamp()),
        "scope": " ".join(sorted(scopes)),
    }
    return jwt.encode(claims, await _secret(session), "HS256")


def is_development(token: str) -> bool:
    """Return whether a token names this issuer. Nothing else is verified."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return len(token) <= MAX_BYTES and bool(claims.get("iss") == ISSUER)
    except Exception:  # noqa: BLE001 - untrusted input can raise any error
        return False


async def verify(session: AsyncSession, token: str) -> tuple[Claims, Row[Any]]:
    """Return the claims of a token, and the row of its user.

    Raises InvalidToken and IdentityKeyError.
    """
    # The key is read each time: another database can replace this one.
    secret = SecretStr(await _secret(session))
    issuer = Issuer(issuer=ISSUER, audience=ISSUER, secret=secret, leeway=0)
    claims = await TokenVerifier([issuer]).verify(token)
    user_id = database_id(claims.subject)
    if user_id is None:
        raise InvalidToken("the subject is no id of a user")
    found = (await session.execute(USER_BY_ID, {"user_id": user_id})).one_or_none()
    if found is None:
        raise InvalidToken("there is no such user")
    return claims, found


async def _secret(session: AsyncSession) -> str:
    return (await identity_key.load(session)).digest(_PURPOSE)
