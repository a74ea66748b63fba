"""Translates the parameters of a database URL into asyncpg's arguments, and checks its files."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

from sqlalchemy import URL

from db.libpq_parameters import FILES, SYSTEM, TCP, check_environment

# asyncpg accepts these only in a URL.
_IN_URL: Final = (
    *FILES,
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)


class ConnectOptions(NamedTuple):
    """`arguments` are asyncpg's; the other fields have no argument in asyncpg."""

    arguments: dict[str, Any]
    timeout: float | None  # seconds for each host
    tcp: dict[str, int]
    in_random_order: bool


def connect_options(options: Mapping[str, Any], timeout: float) -> ConnectOptions:
    """Translate the parameters of a parsed URL. `timeout` is the default of `connect_timeout`."""
    given = dict(options)
    seconds = int(given.pop("connect_timeout", 0)) if "connect_timeout" in given else timeout
    names = [given.pop(name, None) for name in ("application_name", "fallback_application_name")]
    settings = {"application_name": names[0] or names[1] or "roster"}
    if "options" in given:
        settings["options"] = given.pop("options")  # parsed by the server, as with libpq
    said = {name: int(given.pop(name)) for name in TCP if name in given}
    tcp = {option: value for name, value in said.items() for option in TCP[name]}
    in_random_order = given.pop("load_balance_hosts", "") == "random"
    return ConnectOptions(
        _with_tls(given) | {"server_settings": settings},
        seconds if seconds > 0 else None,  # zero or a negative number means no limit
        tcp,
        in_random_order,
    )


def _with_tls(given: dict[str, Any]) -> dict[str, Any]:
    in_url: dict[str, str] = {name: given.pop(name) for name in _IN_URL if name in given}
    if in_url.get("sslrootcert") == SYSTEM:
        given["ssl"] = _system_context(in_url)
        in_url = {name: in_url[name] for name in ("sslnegotiation",) if name in in_url}
    if in_url:
        given["dsn"] = f"postgresql://?{urlencode(in_url, quote_via=percent_encode)}"
    return given


def _system_context(given: Mapping[str, str]) -> ssl.SSLContext:
    """Create the context that asyncpg creates for `verify-full`, with the system's certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    for name, load in _LOADING.items():
        if name in given and given[name] != SYSTEM:
            load(context, given)
    for end, least in (("minimum", "TLSv1.2"), ("maximum", "")):
        if version := given.get(f"ssl_{end[:3]}_protocol_version", least):
            setattr(context, f"{end}_version", ssl.TLSVersion[version.replace(".", "_")])
    context.set_alpn_protocols(["postgresql"])
    return context


def check_files(url: URL) -> None:
    """Raise ValueError if a file that the URL names cannot be used.

    asyncpg reads the files for each connection. Its errors do not always say which file is wrong.
    """
    given = {name: str(value) for name, value in url.query.items()}
    check_environment()
    mode = given.get("ssl", "")
    if mode == "disable":
        return
    root = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if mode.startswith("verify-") and not root and not _personal("root.crt"):
        raise ValueError(
            f"in the database URL sslmode={mode} needs sslrootcert: a file of the certificates to "
            "trust, or system"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, load in _LOADING.items():
        if name in given and given[name] != SYSTEM:
            try:
                load(context, given)
            except ssl.SSLError:
                raise ValueError(
                    f"in the database URL {name} must be a PEM file{_WITH_KEY.get(name, '')}"
                ) from None
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ValueError(f"in the database URL {name} cannot be read: {reason}") from None


def _personal(name: str) -> str | None:
    # One of the files that libpq and asyncpg look for by themselves.
    try:
        path = str(Path.home() / ".postgresql" / name)
    except RuntimeError:  # there is no home directory
        return None
    return path if os.access(path, os.R_OK) else None


def _load_root(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    context.load_verify_locations(cafile=given["sslrootcert"])


def _load_revoked(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    context.load_verify_locations(cafile=given["sslcrl"])
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_certificate(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    key = given.get("sslkey") or os.environ.get("PGSSLKEY") or _personal("postgresql.key")
    # Without this function OpenSSL asks for the password at the terminal.
    context.load_cert_chain(given["sslcert"], key, lambda: given.get("sslpassword", ""))


_WITH_KEY: Final = {"sslcert": ", with its key in sslkey and the password of that in sslpassword"}
_LOADING: Final = {
    "sslrootcert": _load_root,
    "sslcrl": _load_revoked,
    "sslcert": _load_certificate,
}
