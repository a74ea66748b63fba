"""Parses and validates commands, before the database is read.

All violations are reported together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from db.time_slices import pause_if_due
from users import text
from users.commands import (
    Command,
    Create,
    Erase,
    Retention,
    Transition,
    Update,
    UpsertByKey,
    UserFields,
)
from users.email_address import Email
from users.entity import KEY_COLUMNS, Columns, Key
from users.errors import ErrorCode, FieldViolation
from users.identity import Username
from users.text import InvalidValue

# (field, text) -> columns or violation. A batch shares it, so that each text is parsed once.
ParseCache = dict[tuple[str, str], Columns | FieldViolation]

# Python's first and last datetime. asyncpg converts them to -infinity and infinity.
_ENDS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_NO_DATE: Final = FieldViolation(
    code=ErrorCode.INVALID_FORMAT, message="This is no date to wait for.", field="erase_after"
)


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A command with its parsed values, and the violations found without the database."""

    command: Command
    columns: Columns
    violations: Sequence[FieldViolation]
    reason: str | None = None
    by: Key | None = None

    @classmethod
    def of(cls, command: Command, cache: ParseCache | None = None) -> "ParsedCommand":
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
    columns, _ = parse_fields(cast("UserFields", {upsert.by: upsert.value}), cache)
    key: str | None = columns.get(KEY_COLUMNS[upsert.by])
    return key


def _is_no_date(retention: Retention | None) -> bool:
    return retention is not None and retention.erase_after in _ENDS


def _username(raw: str) -> Columns:
    username = Username.parse(raw)
    username.check_free()
    return {"username": username.text, "username_key": username.key}


def _email(raw: str) -> Columns:
    email = Email.parse(raw)
    return {"email": email.text, "email_key": email.key}


def _display_name(raw: str) -> Columns:
    name = text.display_name(raw)
    return {"display_name": name, "display_name_key": text.fold(name)}


def _external_id(raw: str) -> Columns:
    key = text.external_id(raw)
    return {"external_id": key, "external_id_key": text.fold(key)}


_PARSERS: Mapping[str, Callable[[str], Columns]] = {
    "username": _username,
    "email": _email,
    "display_name": _display_name,
    "external_id": _external_id,
}
REQUIRED_FIELDS: Final = ("username", "email")


def parse_fields(
    fields: UserFields, cache: ParseCache | None = None
) -> tuple[Columns, list[FieldViolation]]:
    columns: Columns = {}
    violations: list[FieldViolation] = []
    given = cast("Mapping[str, str | None]", fields)
    for name, parse in _PARSERS.items():
        if name not in given:
            continue
        raw = given[name]
        if raw is not None:
            violations += _collect(parse, raw, columns, cache, name)
        elif name in REQUIRED_FIELDS:
            message = "This field is required."
            violations.append(FieldViolation(code=ErrorCode.REQUIRED, message=message, field=name))
        else:
            columns |= {name: None, f"{name}_key": None}
    return columns, violations


def parse_reason(raw: str | None) -> tuple[str | None, list[FieldViolation]]:
    columns: Columns = {}
    if raw is None:
        return None, []
    violations = _collect(lambda given: {"reason": text.reason(given)}, raw, columns)
    return columns.get("reason"), violations


def _collect(
    parse: Callable[[str], Columns],
    raw: str,
    into: Columns,
    cache: ParseCache | None = None,
    name: str = "",
) -> list[FieldViolation]:
    found = None if cache is None else cache.get((name, raw))
    if found is None:
        found = _parse(parse, raw)
        if cache is not None:
            cache[name, raw] = found
    if isinstance(found, FieldViolation):
        return [found]
    into |= found
    return []


def _parse(parse: Callable[[str], Columns], raw: str) -> Columns | FieldViolation:
    try:
        return parse(raw)
    except InvalidValue as error:
        return error.violation
