"""Cursors: a position in one order, as the sort values of a row.

A cursor names its order, so that a cursor of another order is rejected instead of misread.

    ValueError
    └── InvalidCursor             not a cursor; the message is for clients
        └── InvalidCursorOrder    a cursor of a list in another order
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from db.column_types import LAST_TEXT
from db.search import RANKS

Position = tuple[Any, ...]
Decoder = Callable[[Any], Any]

_MAX_LENGTH = 4_096
_FOR_URLS = bytes.maketrans(b"+/", b"-_")


class InvalidCursor(ValueError):
    pass


class InvalidCursorOrder(InvalidCursor):
    pass


def encoder(order: str, position: Callable[[Any], Position]) -> Callable[[Any], str]:
    """Return a function that encodes a row's cursor in an order. `position` returns sort values."""
    dumps, base64_of = orjson.dumps, binascii.b2a_base64

    def encode(row: Any) -> str:
        text = base64_of(dumps((order, *position(row))), newline=False)
        return text.translate(_FOR_URLS, b"=").decode()

    return encode


def encode(order: str, position: Sequence[Any]) -> str:
    return encoder(order, tuple)(position)


def decode(text: str, order: str, decoders: Sequence[Decoder]) -> Position:
    """Decode a cursor of `order`. Each decoder converts one value, or raises ValueError."""
    found, values = _read(text)
    if found != order:
        raise InvalidCursorOrder(
            "This cursor belongs to a list in another order. Start again without it."
        )
    try:
        return tuple(decode(value) for decode, value in zip(decoders, values, strict=True))
    except (TypeError, ValueError, OverflowError):
        raise InvalidCursor("This is not a cursor of this list.") from None


def _read(text: str) -> tuple[str, list[Any]]:
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        match len(text) <= _MAX_LENGTH and orjson.loads(
            base64.b64decode(padded, altchars=b"-_", validate=True)
        ):
            case [str(order), *values]:
                return order, values
    except (UnicodeError, binascii.Error, ValueError):
        pass
    raise InvalidCursor("This is not a cursor of this list.")


def moment(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError
    return at.astimezone(UTC)


def row_id(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError
    return value


def event_id(value: Any) -> int:
    # 0 is the beginning of the feed.
    return 0 if value == 0 and type(value) is int else row_id(value)


def rank(value: Any) -> int:
    if type(value) is not int or value not in RANKS:
        raise ValueError
    return value


def mark(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def sort_key(value: Any) -> str:
    # PostgreSQL rejects NUL in texts.
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def sort_key_or_null(value: Any) -> str:
    return LAST_TEXT if value is None else sort_key(value)
