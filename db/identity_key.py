"""Keyed digests of external ids. They show that a subject was a user, without storing the id.

A digest is an HMAC of the external id with a random key that is stored in the database. If the
setting ROSTER_IDENTITY_SECRET is set, the digest is an HMAC of that HMAC with the secret. Then
reading the database is not enough to test guessed ids. The secret can be added later: existing
digests are rekeyed without the ids.
"""

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db.statements.external_ids import IDENTITY_KEY, REKEY_FORMER_ID, SET_SECRET, former_ids_after

if TYPE_CHECKING:
    from db.engine import Database

_SECRET: Final = "ROSTER_IDENTITY_SECRET"  # noqa: S105 - the name of the setting
_VERIFIED: Final = "\0secret"  # the NUL makes it an impossible external id
_BATCH: Final = 1_000


class IdentityKeyError(Exception):
    """The digests of external ids cannot be computed or compared. The message is one line."""


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """The key of the database, and the secret of the process, if any."""

    key: str = field(repr=False)
    verifier: str | None
    secret: bytes | None = field(repr=False)

    @classmethod
    def of(cls, key: str, verifier: str | None, secret: bytes | None) -> "IdentityKey":
        """Create the key. Raises IdentityKeyError if the digests are keyed with another secret."""
        made = cls(key, verifier, secret)
        if secret is None and verifier is not None:
            raise IdentityKeyError(f"{_SECRET} must be set: the database is keyed with it")
        if secret is not None and verifier is None:
            raise IdentityKeyError(
                f"{_SECRET} is new to the database: run `roster migrate` with it"
            )
        if verifier is not None and not hmac.compare_digest(made.digest(_VERIFIED), verifier):
            raise IdentityKeyError(f"{_SECRET} is not the one that the database is keyed with")
        return made

    def is_in(self, row: Row[Any]) -> bool:
        return (self.key, self.verifier) == (row.key, row.secret_verifier)

    def digest(self, external_id: str) -> str:
        inner = _hmac(bytes.fromhex(self.key), external_id.encode("utf-8", "surrogatepass"))
        return (inner if self.secret is None else _hmac(self.secret, inner)).hex()


async def load(session: AsyncSession, *, hold: bool = False) -> IdentityKey:
    """Read the key. With `hold` it is locked against changes until the transaction ends.

    Raises IdentityKeyError.
    """
    statement = IDENTITY_KEY.with_for_update(read=True) if hold else IDENTITY_KEY
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise IdentityKeyError("the table identity_keys is empty: restore its row from a backup")
    return IdentityKey.of(*row, secret_of(session))


def secret_of(session: AsyncSession) -> bytes | None:
    secret: bytes | None = session.info.get("identity_secret")
    return secret


async def check(database: "Database") -> None:
    """Raise IdentityKeyError unless this process can compute the digests of the database."""
    async with database.session() as session:
        await load(session)


async def apply_secret(database: "Database") -> None:
    """Rekey all digests with the secret of the process, unless that is already done.

    Raises IdentityKeyError.
    """
    async with database.session() as session:
        row = (await session.execute(IDENTITY_KEY)).one_or_none()
        if row is None or row.secret_verifier is not None or secret_of(session) is None:
            await load(session)
            return
    async with database.session() as session, session.transaction():
        key, verifier = (await session.execute(IDENTITY_KEY.with_for_update())).one()
        if verifier is None:
            await _key_again(session, IdentityKey(key, None, secret_of(session)))
    await check(database)


async def _key_again(session: AsyncSession, key: IdentityKey) -> None:
    assert key.secret is not None
    last = 0
    while rows := (await session.execute(former_ids_after(last, _BATCH))).all():
        digests = [
            {"row_id": row.id, "new": _hmac(key.secret, bytes.fromhex(row.digest)).hex()}
            for row in rows
        ]
        await session.execute(REKEY_FORMER_ID, digests)
        last = rows[-1].id
    await session.execute(SET_SECRET, {"verifier": key.digest(_VERIFIED)})


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
