"""Reads and writes JSON. Large results are written in parts, so other requests can run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import orjson

from db.time_slices import pause_if_due
from graph.protocol.errors import InvalidRequest

_PART: Final = 64 * 1024  # bytes, approximately
_STEP: Final = 200  # values between two checks for a pause
JSON_DEPTH = 50
# orjson reads an integer beyond 64 bits as a float. It has at least 19 consecutive digits.
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_BIG: Final = b"0" * 19


def read_json(text: bytes) -> Any:
    """Read JSON (RFC 8259): UTF-8 without a byte order mark, no NaN, nesting of at most 50.

    Raises InvalidRequest.
    """
    # `json` decides on what orjson rejects. It accepts unpaired surrogates, for example.
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _read_json(text)
    else:
        if _TOO_BIG in text.translate(_DIGITS):
            value = _read_json(text)
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH and _deeper(value, JSON_DEPTH):
        raise _too_deep()
    return value


def _read_json(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # also for too many digits
        raise InvalidRequest("The request is not valid JSON.") from None


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"JSON can be nested {JSON_DEPTH} deep here.", "JSON_TOO_DEEP")


def _deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(value, dict | list) for value in level)


def _inside(value: object) -> list[object]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
    return []


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def format_datetime(value: datetime) -> str:
    return orjson.dumps(
        value if value.tzinfo is UTC else value.astimezone(UTC), option=orjson.OPT_UTC_Z
    )[1:-1].decode()


def dumps(value: object) -> bytes:
    """Write JSON in UTF-8. Unpaired surrogates, which UTF-8 cannot encode, are escaped.

    A value of type `bytes` is already JSON.
    """
    try:
        return orjson.dumps(value, _as_it_is, option=orjson.OPT_UTC_Z)
    except TypeError:
        return json.dumps(value, default=_plain).encode()


async def dumps_in_parts(value: object, part_size: int = _PART) -> list[bytes]:
    """Write JSON in parts of about `part_size` bytes. A larger `bytes` value is not split."""
    parts: list[bytes] = []
    part = bytearray()
    for number, piece in enumerate(_pieces(value), 1):
        part += piece
        if len(part) >= part_size:
            parts.append(bytes(part))
            part.clear()
            await pause_if_due()
        elif number % _STEP == 0:
            await pause_if_due()
    return [*parts, bytes(part)]


def _pieces(value: object) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case dict():
            separator = b"{"
            for name, member in value.items():
                yield b"%b%b:" % (separator, dumps(name))
                yield from _pieces(member)
                separator = b","
            yield b"}" if value else b"{}"
        case list() | tuple():
            separator = b"["
            for item in value:
                yield separator
                yield from _pieces(item)
                separator = b","
            yield b"]" if value else b"[]"
        case _:
            yield dumps(value)


def _as_it_is(value: object) -> orjson.Fragment:
    if isinstance(value, bytes):
        return orjson.Fragment(value)
    raise TypeError


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, bytes) else format_datetime(value)
