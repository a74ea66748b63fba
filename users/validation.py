"""What is asked for, checked: all that can be said of an operation before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from db.time_slices import pause_if_due
from users.commands import (
    Create,
    Erase,
    Operation,
    Retention,
    Transition,
    UniqueField,
    Update,
    UpsertByKey,
)
from users.errors import ErrorCode, FieldProblem
from users.fields import Columns, Parsed, UserFields, parse_fields, parse_reason

# Field -> the column whose index decides that no two users have the same.
KEY_COLUMNS: Final[Mapping[UniqueField, str]] = {
    "username": "username_key",
    "email": "email_key",
    "external_id": "external_id",
}

# The first and the last moment that Python has: PostgreSQL's driver takes them to mean no end.
_ENDS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_NO_DATE: Final = FieldProblem(
    code=ErrorCode.INVALID_FORMAT, message="This is no date to wait for.", field="erase_after"
)

Key = tuple[str, str]  # a column of KEY_COLUMNS, and what it holds


@dataclass(frozen=True, slots=True)
class Request:
    """An operation whose values are checked, before anything is read for it."""

    operation: Operation
    columns: Columns
    problems: Sequence[FieldProblem]
    reason: str | None = None
    by: Key | None = None

    @classmethod
    def of(cls, operation: Operation, parsed: Parsed | None = None) -> "Request":
        """Parse the values of an operation, except those that were `parsed` before."""
        match operation:
            case Transition() | Erase():
                reason, problems = parse_reason(operation.reason)
                if isinstance(operation, Transition) and _is_no_date(operation.retention):
                    problems.append(_NO_DATE)
                return cls(operation, {}, problems, reason)
            case UpsertByKey():
                key = _key_of(operation, parsed)
                columns, problems = parse_fields(operation.fields, parsed)
                by = None if key is None else (KEY_COLUMNS[operation.by], key)
                return cls(operation, columns, problems, by=by)
            case _:
                columns, problems = parse_fields(operation.fields, parsed)
                return cls(operation, columns, problems)

    @property
    def user_id(self) -> int | None:
        asked = self.operation
        return None if isinstance(asked, Create | UpsertByKey) else asked.user_id

    @property
    def expected_version(self) -> int | None:
        asked = self.operation
        return None if isinstance(asked, Create) else asked.expected_version

    @property
    def validate_only(self) -> bool:
        asked = self.operation
        return isinstance(asked, Create | Update) and asked.validate_only


async def parse_all(operations: Sequence[Operation], parsed: Parsed) -> list[Request]:
    requests = []
    for operation in operations:
        await pause_if_due()
        requests.append(Request.of(operation, parsed))
    return requests


def _key_of(upsert: UpsertByKey, parsed: Parsed | None) -> str | None:
    """Return the key that an upsert finds its user by; None if no user can have it."""
    columns, _ = parse_fields(cast("UserFields", {upsert.by: upsert.value}), parsed)
    key: str | None = columns.get(KEY_COLUMNS[upsert.by])
    return key


def _is_no_date(retention: Retention | None) -> bool:
    return retention is not None and retention.erase_after in _ENDS
