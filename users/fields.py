"""What a request wants written into a user: checked field by field, all faults at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast

from users import text
from users.email_address import Email
from users.errors import ErrorCode, FieldViolation
from users.identity import Username
from users.text import InvalidValue

Columns = dict[str, Any]


class UserFields(TypedDict, total=False):
    """The fields to write: a missing one stays as it is, None clears what can be cleared."""

    username: str | None
    email: str | None
    display_name: str | None
    external_id: str | None


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
_REQUIRED = ("username", "email")


# What fields with their texts came to. A batch keeps it, so that no text is parsed twice.
ParseCache = dict[tuple[str, str], Columns | FieldViolation]


def parse_fields(
    fields: UserFields, cache: ParseCache | None = None
) -> tuple[Columns, list[FieldViolation]]:
    """Turn fields into column values, and tell what is wrong with those that aren't there."""
    columns: Columns = {}
    violations: list[FieldViolation] = []
    given = cast("Mapping[str, str | None]", fields)
    for name, parse in _PARSERS.items():
        if name not in given:
            continue
        raw = given[name]
        if raw is not None:
            violations += _collect(parse, raw, columns, cache, name)
        elif name in _REQUIRED:
            message = "A user cannot be without this."
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
