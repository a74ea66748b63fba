"""Parsers for setting values. An invalid value raises a ValueError that names what is accepted."""

import json
import re
from ipaddress import ip_address
from typing import Any, Final

from limits import parse

_RATE: Final = (
    "must be one rate such as 6000/minute, of at least 1 per second, minute, hour, day, month or "
    "year, or off"
)
_RATE_FORM: Final = re.compile(
    r"[0-9]{1,10}\s*(/|per)\s*([1-9][0-9]{0,8})?\s*[a-z]+", re.IGNORECASE
)
_MOST_REQUESTS: Final = 10**9
_LONGEST_WINDOW: Final = 366 * 24 * 3600  # seconds
_HOST: Final = "must be an IP address or a host name, without a scheme and without a port"


def parse_address(host: str) -> str:
    """Return a host name in lower case, or an IP address without brackets."""
    name = host.removeprefix("[").removesuffix("]").lower()
    if re.fullmatch(r"[a-z0-9_.-]+", name):
        return name
    try:
        return str(ip_address(name))
    except ValueError:
        raise ValueError(_HOST) from None


def check_rate(text: str) -> None:
    # `limits.parse` accepts several rates and uses the first: the pattern allows only one.
    try:
        rate = parse(text) if _RATE_FORM.fullmatch(text) else None
    except ValueError:  # unknown unit
        rate = None
    if not rate or not 1 <= rate.amount <= _MOST_REQUESTS or rate.get_expiry() > _LONGEST_WINDOW:
        raise ValueError(_RATE)


def clean(value: str, *, exact: bool) -> str:
    """Strip white space. Raises ValueError for quotation marks around a value or invalid UTF-8.

    With `exact`, surrounding white space is an error: stripping it would change a secret.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("is not in UTF-8")
    stripped = value.strip()
    if exact and stripped != value:
        raise ValueError("has white space before or after it, such as a line break: remove it")
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        raise ValueError("is in quotation marks, which `docker --env-file` keeps: remove them")
    return stripped


def parse_issuers(text: str) -> list[Any]:
    try:
        match json.loads(text, object_pairs_hook=_without_duplicates):
            case list(listed):
                return listed
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"must be a JSON list of objects: no JSON from {where} on") from None
    except RecursionError:
        pass
    raise ValueError("must be a JSON list of objects")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("must be a JSON list of objects, in which each key occurs once")
    return found
