"""Results as JSON. Large ones are written in parts, so that other requests run in between."""

import json
from collections.abc import Iterator
from typing import Any, Final

import orjson

from db.time_slices import pause_if_due
from graph.scalars import write_moment

_PART: Final = 64 * 1024  # bytes, about
_STEP: Final = 200  # values that are written before it is seen whether a pause is due


def dump(value: object) -> bytes:
    """Write JSON in UTF-8; half a surrogate pair, which has none, as an escape.

    A value in `bytes` is JSON already.
    """
    try:
        return orjson.dumps(value, _as_it_is, option=orjson.OPT_UTC_Z)
    except TypeError:
        return json.dumps(value, default=_plain).encode()


async def dump_in_parts(value: object) -> list[bytes]:
    """Write JSON in parts of at most some size, except for a `bytes` value that is larger."""
    parts: list[bytes] = []
    part = bytearray()
    for number, piece in enumerate(_pieces(value), 1):
        part += piece
        if len(part) >= _PART:
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
                yield b"%b%b:" % (separator, dump(name))
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
            yield dump(value)


def _as_it_is(value: object) -> orjson.Fragment:
    if isinstance(value, bytes):
        return orjson.Fragment(value)
    raise TypeError


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, bytes) else write_moment(value)
