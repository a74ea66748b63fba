"""Parses hosts and origins of settings into the form that browsers send."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Final

import idna

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[^\]]+\]|[^/:?#@\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?/?"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# No page has an origin with one of these schemes.
_WITHOUT_ORIGIN: Final = frozenset({"about", "blob", "data", "file", "javascript", "ws", "wss"})
_HOSTS: Final = (
    "is not a host name such as roster.example.com, *.example.com for all names below it, or an IP "
    "address; schemes and ports are not part of it"
)
_ORIGINS: Final = (
    "is not an origin such as https://app.example.com or http://localhost:3000; paths and * are "
    "not part of it"
)


def parse_list(text: str, parse: Callable[[str], str]) -> list[str]:
    """Parse entries separated by commas, or a JSON list of strings.

    Raises ValueError with the number of the first invalid entry.
    """
    entries = [entry for entry in map(str.strip, _entries(text)) if entry]
    if not entries:
        raise ValueError("has no entries")
    parsed = []
    for number, entry in enumerate(entries, start=1):
        try:
            parsed.append(parse(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} {error}") from None
    return parsed


def _entries(text: str) -> list[str]:
    if text.startswith("["):  # an IPv6 address can start with it, too
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
            if isinstance(found, list) and all(isinstance(entry, str) for entry in found):
                return found
    return text.split(",")


def parse_host(text: str) -> str:
    """Return a host in lower case: international names in ASCII, IPv6 addresses in brackets."""
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + _host(text.removeprefix("*.").removesuffix("."), _HOSTS)


def parse_origin(text: str) -> str:
    """Return an origin as browsers serialise it: in lower case and without a default port."""
    found = _ORIGIN.fullmatch(text.lower())
    if not found or found["scheme"] in _WITHOUT_ORIGIN:
        raise ValueError(_ORIGINS)
    scheme, port = found["scheme"], int(found["port"] or 0)
    host = _host(found["host"], _ORIGINS)
    if not found["port"] or port == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    if not 0 < port < 2**16:
        raise ValueError(_ORIGINS)
    return f"{scheme}://{host}:{port}"


def _host(text: str, message: str) -> str:
    with suppress(ValueError):
        address = ip_address(text.removeprefix("[").removesuffix("]"))
        return f"[{address.compressed}]" if isinstance(address, IPv6Address) else str(address)
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError(message) from None
    if not _NAME.fullmatch(name):
        raise ValueError(message)
    return name
