"""The scalars that GraphQL doesn't have, and how each is read and written."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NewType

import orjson
import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
Json = NewType("Json", dict[str, Any])

_MAX_BIGINT = 2**63 - 1


def write_moment(value: datetime) -> str:
    return orjson.dumps(
        value if value.tzinfo is UTC else value.astimezone(UTC), option=orjson.OPT_UTC_Z
    )[1:-1].decode()


def _as_it_is(value: datetime) -> datetime:
    """Leave a moment in UTC to whoever writes JSON: `write_moment` does the same."""
    if value.__class__ is not datetime or value.tzinfo is not UTC:
        raise TypeError
    return value


def _read_moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise GraphQLError("A DateTime is written like 2026-01-31T12:00:00Z, with its offset from UTC.")


def _read_bigint(value: object) -> BigInt:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004 - 2**63 has 19 digits
        value = int(value)
    if type(value) is int and 0 <= value <= _MAX_BIGINT:
        return BigInt(value)
    raise GraphQLError(
        "A BigInt is a whole number from 0 to 9223372036854775807, as a string of digits."
    )


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment by RFC 3339, in UTC and to the microsecond: `2026-01-31T12:00:00Z`. "
        "As an input it may have any offset, but has to have one.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=write_moment,
        parse_value=_read_moment,
    ),
    Json: strawberry.scalar(
        name="JSON",
        description="A JSON document (RFC 8259), whose fields the schema doesn't describe.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number of up to 63 bits, as a string of digits, since JSON's numbers "
        "lose digits beyond 53 bits. As an input a number is taken as well.",
        serialize=str,
        parse_value=_read_bigint,
    ),
}

# What stands in an answer as it is (`graph/compiled/sources.py`), by the scalar's name.
WRITERS: Final[Mapping[str, Callable[[Any], Any]]] = {"DateTime": _as_it_is}
