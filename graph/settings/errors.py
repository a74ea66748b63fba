"""Formats validation errors of settings as one line each, with the name of the variable."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from graph.auth.issuers import InvalidIssuerField
from graph.environment import NAME


def line_of(error: object, known_fields: Iterable[str]) -> str:
    # `loc` contains the field name, or the alias (in upper case) if the variable has one.
    assert isinstance(error, dict)
    first, *rest = error["loc"]
    name = first if first.isupper() else f"ROSTER_{first.upper()}"
    if error["type"] == "extra_forbidden" and not rest:
        return _unknown(name, known_fields)
    return f"{name}{_path(rest, error)}: {_message(error)}"


def _path(keys: list[Any], error: dict[str, Any]) -> str:
    # For example, `[0].secret`.
    keys = [key for key in (*keys, *_key(error)) if isinstance(key, int) or NAME.fullmatch(key)]
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _key(error: dict[str, Any]) -> list[str]:
    cause = error.get("ctx", {}).get("error")
    return [cause.key] if isinstance(cause, InvalidIssuerField) else []


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "bool_parsing":
        return "Input should be a valid boolean, true or false"
    return str(error["msg"]).removeprefix("Value error, ")


def _unknown(name: str, known_fields: Iterable[str]) -> str:
    if not NAME.fullmatch(name):
        return "a variable has a name that begins with ROSTER_ and is no setting"
    known = [field_name.upper() for field_name in known_fields]
    close = get_close_matches(name.removeprefix("ROSTER_"), known, n=1)
    hint = f"did you mean ROSTER_{close[0]}?" if close else "docs/operations.md lists all settings"
    return f"{name}: there is no such setting; {hint}"


def issuer_lines(error: ValidationError, given: list[str]) -> Iterator[str]:
    """Yield a line per error of the issuer that is configured by individual variables."""
    for found in error.errors():
        key = str([*found["loc"], *_key(dict(found)), "issuer"][0])
        message = _message(dict(found))
        if found["type"] == "missing":
            message = f"is missing, and ROSTER_AUTH_{given[0].upper()} needs it"
        yield f"ROSTER_AUTH_{key.upper()}: {message}"
