"""Requests that can be sent again: a key, the input it came with, and the answer it got.

The key is claimed in the transaction that does the work. Whoever comes second waits for that
transaction's end, and then finds either the answer, or nothing at all.
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
from db.statements import claim_key
from users.commands import IdempotencyKey, Refused, Result
from users.errors import (
    ErrorCode,
    FieldProblem,
    GeneralProblem,
    Problem,
    UnknownUser,
    VersionConflict,
    WrongStatus,
)
from users.history import Version, as_of
from users.recorder import Actor

KEY_LENGTH: Final = 255
LIFETIME: Final = timedelta(hours=24)

_REUSED = GeneralProblem(
    code=ErrorCode.IDEMPOTENCY_KEY_REUSED,
    message="This key was used for another request. Use a new one.",
    field="idempotency_key",
)


def key_problems(key: IdempotencyKey | None) -> list[FieldProblem]:
    if key is None or 1 <= len(key.text) <= KEY_LENGTH:
        return []
    code = ErrorCode.TOO_LONG if key.text else ErrorCode.TOO_SHORT
    message = f"A key has 1 to {KEY_LENGTH} characters."
    return [
        FieldProblem(code=code, message=message, field="idempotency_key", min=1, max=KEY_LENGTH)
    ]


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's hold on a key for one input.

    Both are kept as digests: the key's is of the caller and the key, the input's needs the key to
    be made, so that neither tells anything to who reads the table.
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

    async def take(self, now: datetime) -> Sequence[Result] | None:
        """Claim the key, or give what it was answered.

        Raises `Refused` where it was used for another input.
        """
        claim = claim_key(self.digest, self.fingerprint, now=now, until=now + LIFETIME)
        if (await self.session.execute(claim)).scalar_one_or_none() is not None:
            return None
        kept = models.IdempotencyKey
        columns = select(kept.fingerprint, kept.answer).where(kept.digest == self.digest)
        found = (await self.session.execute(columns)).one()
        if found.fingerprint != self.fingerprint:
            raise Refused(problems=[_REUSED])
        return await _read(self.session, found.answer)

    async def keep(self, results: Sequence[Result]) -> None:
        kept = models.IdempotencyKey
        answer = [_write(result) for result in results]
        await self.session.execute(
            update(kept).where(kept.digest == self.digest).values(answer=answer)
        )


def _write(result: Result) -> dict[str, Any]:
    return {
        "user": result.user and _version(result.user),
        "changed": result.changed,
        "created": result.created,
        "problems": [_write_problem(problem) for problem in result.problems],
    }


def _write_problem(problem: Problem) -> dict[str, Any]:
    values = {name: getattr(problem, name) for name in problem.__dataclass_fields__}
    if isinstance(user := values.get("user"), User):
        values["user"] = _version(user)
    return {"kind": problem.kind, **values}


def _version(user: User) -> Version:
    return user.id, user.version


async def _read(session: AsyncSession, answer: Sequence[Mapping[str, Any]]) -> list[Result]:
    told = [*answer, *(problem for result in answer for problem in result["problems"])]
    versions: set[Version] = {(i, v) for i, v in (t["user"] for t in told if t.get("user"))}
    users = await as_of(session, versions)

    def user(named: Mapping[str, Any]) -> User:
        return users[tuple(named["user"])]

    return [
        Result(
            user=user(result) if result["user"] else None,
            changed=result["changed"],
            created=result["created"],
            problems=[_read_problem(problem, user) for problem in result["problems"]],
        )
        for result in answer
    ]


def _read_problem(told: Mapping[str, Any], user: Callable[[Mapping[str, Any]], User]) -> Problem:
    values = {name: value for name, value in told.items() if name != "kind"}
    match told["kind"]:
        case FieldProblem.kind:
            return FieldProblem(**values | {"code": ErrorCode(told["code"])})
        case GeneralProblem.kind:
            return GeneralProblem(**values | {"code": ErrorCode(told["code"])})
        case UnknownUser.kind:
            return UnknownUser(**values)
        case WrongStatus.kind:
            status = UserStatus(told["status"])
            return WrongStatus(**values | {"user": user(told), "status": status})
        case VersionConflict.kind:
            return VersionConflict(**values | {"user": user(told)})
        case kind:
            raise AssertionError(kind)
