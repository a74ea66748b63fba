"""Idempotency keys, each stored with a fingerprint of the request and its answer.

The key is claimed in the transaction that executes the commands. A concurrent request with the same
key waits until that transaction ends. It then finds the stored answer or a free key.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db import models
from db.models import User, UserStatus
from db.statements.idempotency import claim_key
from users.commands import CommandResult, CommandsRejected, IdempotencyKey
from users.errors import (
    ErrorCode,
    FieldViolation,
    GeneralViolation,
    InvalidTransition,
    RuleViolation,
    UserNotFound,
    VersionConflict,
)
from users.history import Version, as_of
from users.recorder import Actor

KEY_LENGTH: Final = 255
LIFETIME: Final = timedelta(hours=24)

_REUSED = GeneralViolation(
    code=ErrorCode.IDEMPOTENCY_KEY_REUSED,
    message="This key was used with a different input. Use a new key.",
    field="idempotency_key",
)


def key_violations(key: IdempotencyKey | None) -> list[FieldViolation]:
    if key is None or 1 <= len(key.text) <= KEY_LENGTH:
        return []
    code = ErrorCode.TOO_LONG if key.text else ErrorCode.TOO_SHORT
    message = f"An idempotency key must have 1 to {KEY_LENGTH} characters."
    return [
        FieldViolation(code=code, message=message, field="idempotency_key", min=1, max=KEY_LENGTH)
    ]


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's claim on a key for one request.

    Only digests are stored, so the table reveals neither the key nor the request. `digest` covers
    the caller and the key. `fingerprint` is an HMAC of the request, keyed with the text of the key.
    """

    session: AsyncSession
    digest: str
    fingerprint: str

    @classmethod
    def of(
        cls,
        session: AsyncSession,
        actor: Actor,
        key: IdempotencyKey,
    ) -> "Claim":
        owned = json.dumps([actor.kind, actor.id, key.text])
        secret = key.text.encode(errors="surrogatepass")
        return cls(
            session,
            hashlib.sha256(owned.encode()).hexdigest(),
            hmac.digest(secret, key.request.encode(errors="surrogatepass"), "sha256").hex(),
        )

    async def take(self, now: datetime) -> Sequence[CommandResult] | None:
        """Claim the key. Returns the stored answer if the same request has used it before.

        Raises CommandsRejected if a different request has used it.
        """
        claim = claim_key(self.digest, self.fingerprint, now=now, until=now + LIFETIME)
        if (await self.session.execute(claim)).scalar_one_or_none() is not None:
            return None
        kept = models.IdempotencyKey
        columns = select(kept.fingerprint, kept.answer).where(kept.digest == self.digest)
        found = (await self.session.execute(columns)).one()
        if found.fingerprint != self.fingerprint:
            raise CommandsRejected(violations=[_REUSED])
        return await _read(self.session, found.answer)

    async def keep(self, results: Sequence[CommandResult]) -> None:
        kept = models.IdempotencyKey
        answer = [_write(result) for result in results]
        await self.session.execute(
            update(kept).where(kept.digest == self.digest).values(answer=answer)
        )


def _write(result: CommandResult) -> dict[str, Any]:
    return {
        "user": result.user and _version(result.user),
        "changed": result.changed,
        "created": result.created,
        "problems": [_write_problem(violation) for violation in result.violations],
    }


def _write_problem(violation: RuleViolation) -> dict[str, Any]:
    values = {name: getattr(violation, name) for name in violation.__dataclass_fields__}
    if isinstance(user := values.get("user"), User):
        values["user"] = _version(user)
    return {"kind": violation.kind, **values}


def _version(user: User) -> Version:
    return user.id, user.version


async def _read(session: AsyncSession, answer: Sequence[Mapping[str, Any]]) -> list[CommandResult]:
    stored = [*answer, *(violation for result in answer for violation in result["problems"])]
    versions: set[Version] = {(i, v) for i, v in (t["user"] for t in stored if t.get("user"))}
    users = await as_of(session, versions)

    def user(named: Mapping[str, Any]) -> User:
        return users[tuple(named["user"])]

    return [
        CommandResult(
            user=user(result) if result["user"] else None,
            changed=result["changed"],
            created=result["created"],
            violations=[_read_problem(violation, user) for violation in result["problems"]],
        )
        for result in answer
    ]


def _read_problem(
    stored: Mapping[str, Any], user: Callable[[Mapping[str, Any]], User]
) -> RuleViolation:
    values = {name: value for name, value in stored.items() if name != "kind"}
    match stored["kind"]:
        case FieldViolation.kind:
            return FieldViolation(**values | {"code": ErrorCode(stored["code"])})
        case GeneralViolation.kind:
            return GeneralViolation(**values | {"code": ErrorCode(stored["code"])})
        case UserNotFound.kind:
            return UserNotFound(**values)
        case InvalidTransition.kind:
            status = UserStatus(stored["status"])
            return InvalidTransition(**values | {"user": user(stored), "status": status})
        case VersionConflict.kind:
            return VersionConflict(**values | {"user": user(stored)})
        case kind:
            raise AssertionError(kind)
