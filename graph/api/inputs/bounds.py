"""What any list or text in an input has to be before a database is asked."""

from collections.abc import Sequence
from typing import Any

from graph.api.errors import InputError

MAX_LIST = 100


def check_length(name: str, values: Sequence[Any] | None) -> None:
    if values and len(values) > MAX_LIST:
        raise InputError(f"`{name}` has {len(values)} values; a list can have {MAX_LIST}.")


def check_text(name: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise InputError(f"`{name}` has {len(text)} characters; it can have {longest}.")


def storable(text: str) -> bool:
    """Tell whether a text can be in a database at all: one with NUL or half a pair is in none."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
