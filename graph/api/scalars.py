"""The custom scalars: parsing and serialisation."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from graph.protocol.json import format_datetime

BigInt = NewType("BigInt", int)
Json = NewType("Json", dict[str, Any])

_MAX_BIGINT = 2**63 - 1
# RFC 3339, section 5.6: "T" and "Z" in either case, and an offset of less than a day.
_DATE_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d:[0-5]\d|2[0-3]:[0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def _as_it_is(value: datetime) -> datetime:
    """Leave a UTC datetime to the JSON encoder, which writes it like `format_datetime`."""
    if value.__class__ is not datetime or value.tzinfo is not UTC:
        raise TypeError
    return value


def _read_moment(value: object) -> datetime:
    found = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None:
            return _moment(found)
    except (ValueError, OverflowError):  # 31 February, or a year that Python does not support
        pass
    raise GraphQLError("A DateTime must look like 2026-01-31T12:00:00Z, with an offset from UTC.")


def _moment(found: re.Match[str]) -> datetime:
    """Return the time of a match of `_DATE_TIME`. A leap second becomes the second after it."""
    # Every Python version accepts this form in `fromisoformat`. They differ in other forms.
    date, time, second, fraction, offset = found.groups()
    leap = second == "60"
    digits = "0" if leap else (fraction or "0")[:6]
    zone = "+00:00" if offset in "Zz" else offset
    at = datetime.fromisoformat(f"{date}T{time}:{'59' if leap else second}.{digits:0<6}{zone}")
    return (at + timedelta(seconds=leap)).astimezone(UTC)


def read_bigint(value: object) -> BigInt:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004 - 2**63 has 19 digits
        value = int(value)
    if type(value) is int and 0 <= value <= _MAX_BIGINT:
        return BigInt(value)
    raise GraphQLError(
        "A BigInt must be an integer from 0 to 9223372036854775807, as a string of digits."
    )


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A point in time as defined by RFC 3339, in UTC with microseconds: "
        "`2026-01-31T12:00:00Z`. Inputs may have any offset, and must have one.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=format_datetime,
        parse_value=_read_moment,
    ),
    Json: strawberry.scalar(
        name="JSON",
        description="A JSON document (RFC 8259). The schema does not describe its fields.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer from 0 to 9223372036854775807, as a string of digits, because "
        "JSON numbers lose precision above 53 bits. Inputs may also be numbers.",
        serialize=str,
        parse_value=read_bigint,
    ),
}

# Scalars that the JSON encoder writes itself (`graph/compiler/resolvers.py`), by name.
WRITERS: Final[Mapping[str, Callable[[Any], Any]]] = {"DateTime": _as_it_is}
