"""Violations of the directory's rules. They are values, not exceptions.

`kind` identifies the class in stored answers (`users/idempotency.py`), which later versions read.
It must not change when the class is renamed, and neither must the names of the fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from db.models import User, UserStatus


class ErrorCode(StrEnum):
    TAKEN = "TAKEN"
    REQUIRED = "REQUIRED"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    INVALID_FORMAT = "INVALID_FORMAT"
    RESERVED = "RESERVED"
    NOT_FOUND = "NOT_FOUND"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    FORBIDDEN = "FORBIDDEN"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    BATCH_ABORTED = "BATCH_ABORTED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """An invalid value. `min` and `max` are in characters.

    `pattern` is an ECMA 262 regular expression. All valid values match it, and some invalid ones do
    too.
    """

    code: ErrorCode
    message: str
    field: str
    min: int | None = None
    max: int | None = None
    pattern: str | None = None
    kind = "FieldProblem"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNotFound:
    user_id: int
    field: str = "id"
    code = ErrorCode.NOT_FOUND
    message = "There is no such user."
    kind = "UnknownUser"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidTransition:
    """The status of the user does not allow the action."""

    message: str
    user: User
    status: UserStatus
    field: str = "id"
    code = ErrorCode.INVALID_TRANSITION
    kind = "WrongStatus"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionConflict:
    """The user has changed since the expected version."""

    user: User
    expected: int
    changed_fields: Sequence[str]
    field: str = "expected_version"
    code = ErrorCode.VERSION_CONFLICT
    message = "The user was changed in the meantime."
    kind = "VersionConflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneVersionConflict(VersionConflict):
    """A conflict with a version that only a rejected batch made. `user` is the stored user.

    It is never stored, because the answers of rejected batches are not.
    """

    actual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralViolation:
    """A violation with only a code and a message."""

    code: ErrorCode
    message: str
    field: str = ""
    kind = "GeneralProblem"


RuleViolation = (
    FieldViolation | UserNotFound | InvalidTransition | VersionConflict | GeneralViolation
)
