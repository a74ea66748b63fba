"""Violations of the directory's rules: values, not exceptions.

`kind` names a class in stored answers (`users/idempotency.py`), which later versions read: it does
not change when the class is renamed, and neither do the names of the fields.
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
    """An invalid value, with the bounds that it breaks, in characters.

    `pattern` is a regular expression (ECMA 262) that all valid values match, and some invalid ones.
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
    """No user has this id."""

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
    """The user was written since the version that the command expects."""

    user: User
    expected: int
    changed_fields: Sequence[str]
    field: str = "expected_version"
    code = ErrorCode.VERSION_CONFLICT
    message = "The user was changed in the meantime."
    kind = "VersionConflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralViolation:
    """A violation with no data besides its code and message."""

    code: ErrorCode
    message: str
    field: str = ""
    kind = "GeneralProblem"


RuleViolation = (
    FieldViolation | UserNotFound | InvalidTransition | VersionConflict | GeneralViolation
)
