"""Checks of lists and texts in inputs, before they reach the database."""

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
    # Databases store neither NUL nor unpaired surrogates.
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
