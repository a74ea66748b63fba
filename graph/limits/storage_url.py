"""The URL of a storage for shared rate limits: Redis, or Valkey, which has the same protocol.

The library `limits` reads the result. It ignores parameters of Sentinel URLs, requires ports, and
quotes the URL in its errors. So everything is checked here, and errors contain no part of the URL.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

_ACCEPTED: Final = (
    "must be redis://[user:password@]host[:port][/database], rediss:// for TLS, "
    "redis+unix:///path?db=0, or redis+sentinel://host:port,host:port/service; "
    "or the same with valkey"
)
_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "redis+unix": "redis+unix",
    "redis+sentinel": "redis+sentinel",
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "redis+unix",
    "valkey+sentinel": "redis+sentinel",
}
_PARAMETERS: Final = {
    "redis": frozenset[str](),
    "rediss": frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}),
    "redis+unix": frozenset({"db"}),
    "redis+sentinel": frozenset[str](),
}
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


@dataclass(frozen=True, slots=True)
class StorageAddress:
    """Arguments of `limits.storage.storage_from_string`. `name` is the address for messages.

    `options` are credentials that are not in the URI, and `sentinels` is the number of sentinels.
    """

    name: str
    uri: str = field(repr=False)
    options: dict[str, str] = field(repr=False, default_factory=dict)
    sentinels: int = 0


def parse_storage_url(url: str) -> StorageAddress:
    """Parse a URL. Raises ValueError, with a message that contains no part of the URL."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES[parts.scheme]
        parameters = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
        hosts = [_host(scheme, host) for host in parts.netloc.rpartition("@")[2].split(",")]
    except (ValueError, KeyError):
        raise ValueError(_ACCEPTED) from None
    _check_parameters(scheme, parameters)
    if parts.fragment:
        raise ValueError("a `#` in the password must be written as %23")
    if scheme == "redis+sentinel":
        return _sentinel(parts, hosts)
    if scheme == "redis+unix":
        return _socket(parts)
    database = parts.path.removeprefix("/")
    if len(hosts) > 1 or not hosts[0] or not _is_number(database):
        raise ValueError(_ACCEPTED)
    user, at, _ = parts.netloc.rpartition("@")
    uri = f"async+{scheme}://{user}{at}{hosts[0]}/{database}"
    return StorageAddress(hosts[0], f"{uri}?{urlencode(parameters)}" if parameters else uri)


def _sentinel(parts: SplitResult, hosts: list[str]) -> StorageAddress:
    service = parts.path.removeprefix("/")
    if not all(hosts) or not service or "/" in service:
        raise ValueError(_ACCEPTED)
    # `limits` would not decode these in the URL. They are sent to the sentinels and to Redis.
    credentials = {"username": parts.username, "password": parts.password}
    options = {name: unquote(value) for name, value in credentials.items() if value}
    named = ",".join(hosts)
    uri = f"async+redis+sentinel://{named}/{service}"
    return StorageAddress(f"{service} of the sentinels {named}", uri, options, len(hosts))


def _socket(parts: SplitResult) -> StorageAddress:
    user, at, host = parts.netloc.rpartition("@")
    database = parts.query.removeprefix("db=")
    if host or len(parts.path) < len("/x") or not _is_number(database):
        raise ValueError(_ACCEPTED)
    uri = f"async+redis+unix://{user}{at}{parts.path}"
    return StorageAddress(unquote(parts.path), f"{uri}?{parts.query}" if parts.query else uri)


def _is_number(database: str) -> bool:
    return database.isascii() and f"0{database}".isdigit()


def _host(scheme: str, text: str) -> str:
    """Return a host with its port. Raises ValueError."""
    if not text:
        return ""
    parsed = urlsplit(f"//{text}")
    if not parsed.hostname or parsed.port == 0 or len(text.split()) > 1 or text != text.strip():
        raise ValueError
    name = f"[{parsed.hostname}]" if ":" in parsed.hostname else parsed.hostname
    return f"{name}:{parsed.port or (_SENTINEL_PORT if 'sentinel' in scheme else _PORT)}"


def _check_parameters(scheme: str, parameters: list[tuple[str, str]]) -> None:
    accepted = _PARAMETERS[scheme]
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names) or not accepted.issuperset(names):
        listed = ", ".join(sorted(accepted)) or "none"
        raise ValueError(f"accepts these parameters, each once: {listed}")
    for name, value in parameters:
        if name.startswith("ssl_") and not Path(value).is_file():
            raise ValueError(f"the file of {name} does not exist")
