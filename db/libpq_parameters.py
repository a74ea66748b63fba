"""The parameters of libpq's connection URLs: which exist, and the values that have an effect."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# Parameters with a fixed set of values.
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": _SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
    "load_balance_hosts": ("disable", "random"),
    "keepalives": ("0", "1"),
}
# Accepted without an effect: either asyncpg always behaves so, or the connection works without it.
# Other values are rejected, because they would have no effect.
IGNORED: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "client_encoding": ("utf8", "utf-8", "unicode", "auto"),
    "gssdelegation": ("0",),
    "gssencmode": ("disable", "prefer"),
    "max_protocol_version": ("3.0", "3.2", "latest"),
    "min_protocol_version": ("3.0",),
    "sslcertmode": ("allow",),
    "sslcompression": ("0", "1"),
    "sslsni": ("1",),
}
# Names of constants in Python's `socket`. TCP_KEEPALIVE is macOS's name of TCP_KEEPIDLE.
TCP: Final[Mapping[str, tuple[str, ...]]] = {
    "keepalives": ("SO_KEEPALIVE",),
    "keepalives_idle": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    "keepalives_interval": ("TCP_KEEPINTVL",),
    "keepalives_count": ("TCP_KEEPCNT",),
    "tcp_user_timeout": ("TCP_USER_TIMEOUT",),
}
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NUMBERS: Final = frozenset({"connect_timeout", *TCP}) - {"keepalives"}
FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_NAMES: Final = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "password", "ssl", "requiressl"}
)
_TEXTS: Final = frozenset(
    {"passfile", "options", "application_name", "fallback_application_name", "sslpassword"}
)
KNOWN: Final = _NAMES | _TEXTS | _NUMBERS | set(FILES) | set(_CHOICES) | set(IGNORED)
# Variables with the values of a parameter.
_VARIABLES: Final[Mapping[str, str]] = {
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
SYSTEM: Final = "system"  # a value of `sslrootcert`: the certificates that the system trusts


def check_parameters(parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters that have an effect. Raises ValueError for an unsupported value."""
    _settle_ssl_mode(parameters)
    for name, value in parameters.items():
        allowed = _CHOICES.get(name) or IGNORED.get(name)
        if name in IGNORED:
            value = value.lower()  # noqa: PLW2901 - libpq accepts encoding names in either case
        if allowed and value not in allowed:
            raise ValueError(f"in the database URL {name} must be {_listed(allowed)}")
        number = value.removeprefix("-") if name == "connect_timeout" else value
        if name in _NUMBERS and not _NUMBER.fullmatch(number):
            raise ValueError(f"in the database URL {name} must be a whole number")
    kept = {name: value for name, value in parameters.items() if name not in IGNORED}
    if "sslmode" in kept:
        kept["ssl"] = kept.pop("sslmode")
    return kept


def _listed(values: tuple[str, ...]) -> str:
    *most, last = values
    return f"{', '.join(most)} or {last}" if most else last


def _settle_ssl_mode(parameters: dict[str, str]) -> None:
    short = parameters.pop("ssl", "")
    required = parameters.pop("requiressl", "")
    mode = parameters.get("sslmode") or ("require" if short == "true" else short)
    if required not in {"", "0", "1"}:
        raise ValueError("in the database URL requiressl must be 0 or 1")
    mode = mode or {"": "", "0": "prefer", "1": "require"}[required]
    if parameters.get("sslrootcert") == SYSTEM:
        mode = mode or "verify-full"
        if mode != "verify-full":
            raise ValueError("in the database URL sslrootcert=system needs sslmode=verify-full")
    is_strict = mode in _SSL_MODES[_SSL_MODES.index("require") :]
    if parameters.get("sslnegotiation") == "direct" and not is_strict:
        raise ValueError(
            "in the database URL sslnegotiation=direct needs sslmode=require, verify-ca or "
            "verify-full"
        )
    if mode:
        parameters["sslmode"] = mode


def unknown_parameter(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
        return "the database URL has a parameter that is not supported"
    close = get_close_matches(name.lower(), KNOWN, n=1)
    hint = f"did you mean {close[0]}?" if close else "docs/operations.md lists those that are"
    return f"the database URL has the parameter {name}, which is not supported: {hint}"


def check_environment() -> None:
    # asyncpg reads these variables for each connection.
    for variable, name in _VARIABLES.items():
        value = os.environ.get(variable)
        if value and value not in _CHOICES[name]:
            raise ValueError(f"the variable {variable} must be {_listed(_CHOICES[name])}")
    for port in os.environ.get("PGPORT", "").split(","):
        if not re.fullmatch("[0-9]{0,5}", port):
            raise ValueError("the variable PGPORT must be a port")
