"""What is asked for, checked: all that can be said of an operation before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from db.time_slices import pause_if_due
from users.commands import (
    Command,
    Create,
    Erase,
    Retention,
    Transition,
    UniqueField,
    Update,
    UpsertByKey,
)
from users.errors import ErrorCode, FieldViolation
from users.fields import Columns, ParseCache, UserFields, parse_fields, parse_reason

# Field -> the column whose index decides that no two users have the same.
KEY_COLUMNS: Final[Mapping[UniqueField, str]] = {
    "username": "username_key",
    "email": "email_key",
    "external_id": "external_id",
}

# The first and the last moment that Python has: PostgreSQL's driver takes them to mean no end.
_ENDS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_NO_DATE: Final = FieldViolation(
    code=ErrorCode.INVALID_FORMAT, message="This is no date to wait for.", field="erase_after"
)

Key = tuple[str, str]  # a column of KEY_COLUMNS, and what it holds


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """An operation whose values are checked, before anything is read for it."""

    command: Command
    columns: Columns
    violations: Sequence[FieldViolation]
    reason: str | None = None
    by: Key | None = None

    @classmethod
    def of(cls, command: Command, cache: ParseCache | None = None) -> "ParsedCommand":
        """Parse the values of an operation, except those that were `cache` before."""
        match command:
            case Transition() | Erase():
                reason, violations = parse_reason(command.reason)
                if isinstance(command, Transition) and _is_no_date(command.retention):
                    violations.append(_NO_DATE)
                return cls(command, {}, violations, reason)
            case UpsertByKey():
                key = _key_of(command, cache)
                columns, violations = parse_fields(command.fields, cache)
                by = None if key is None else (KEY_COLUMNS[command.by], key)
                return cls(command, columns, violations, by=by)
            case _:
                columns, violations = parse_fields(command.fields, cache)
                return cls(command, columns, violations)

    @property
    def user_id(self) -> int | None:
        asked = self.command
        return None if isinstance(asked, Create | UpsertByKey) else asked.user_id

    @property
    def expected_version(self) -> int | None:
        asked = self.command
        return None if isinstance(asked, Create) else asked.expected_version

    @property
    def validate_only(self) -> bool:
        asked = self.command
        return isinstance(asked, Create | Update) and asked.validate_only


async def parse_commands(commands: Sequence[Command], cache: ParseCache) -> list[ParsedCommand]:
    batch = []
    for command in commands:
        await pause_if_due()
        batch.append(ParsedCommand.of(command, cache))
    return batch


def _key_of(upsert: UpsertByKey, cache: ParseCache | None) -> str | None:
    """Return the key that an upsert finds its user by; None if no user can have it."""
    columns, _ = parse_fields(cast("UserFields", {upsert.by: upsert.value}), cache)
    key: str | None = columns.get(KEY_COLUMNS[upsert.by])
    return key


def _is_no_date(retention: Retention | None) -> bool:
    return retention is not None and retention.erase_after in _ENDS
