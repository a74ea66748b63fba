"""libpq's connection URLs: parsed, checked, and translated into asyncpg's arguments.

The grammar and the parameters are those of
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING. Error messages contain
names of parameters but never values: in a malformed URL any value can be part of a password.
"""

import getpass
import os
import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote as percent_encode
from urllib.parse import unquote, urlencode

from sqlalchemy import URL

_SPECIAL: Final = (
    "in a user name or password write @ as %40, / as %2F, # as %23, ? as %3F, : as %3A and % as "
    "%25, or leave the password out and set PGPASSWORD"
)
_FORM: Final = f"it has the form postgresql://user:password@host:port/database; {_SPECIAL}"
_MISPLACED: Final = f"the database URL has an @ in the wrong place: {_FORM}"
# libpq's rule: the credentials end at the first @, if it comes before the first slash. So a
# password may contain # and ?, but not @ or /.
_URL: Final = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_HOST: Final = re.compile(r"(?:\[(?P<ip>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[^:]*))?")
_HOST_NAME: Final = re.compile(r"[^\s@:/?#\[\],]+")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_PORTS: Final = range(1, 2**16)
_PORT_DIGITS: Final = 5

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
_TCP: Final[Mapping[str, tuple[str, ...]]] = {
    "keepalives": ("SO_KEEPALIVE",),
    "keepalives_idle": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    "keepalives_interval": ("TCP_KEEPINTVL",),
    "keepalives_count": ("TCP_KEEPCNT",),
    "tcp_user_timeout": ("TCP_USER_TIMEOUT",),
}
_NUMBERS: Final = frozenset({"connect_timeout", *_TCP}) - {"keepalives"}
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# asyncpg accepts these only in a URL.
_IN_URL: Final = (
    *_FILES,
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
_NAMES: Final = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "password", "ssl", "requiressl"}
)
_TEXTS: Final = frozenset(
    {"passfile", "options", "application_name", "fallback_application_name", "sslpassword"}
)
_KNOWN: Final = _NAMES | _TEXTS | _NUMBERS | set(_FILES) | set(_CHOICES) | set(IGNORED)
_VARIABLES: Final[Mapping[str, str]] = {
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
_SYSTEM: Final = "system"  # a value of `sslrootcert`: the certificates that the system trusts

Hosts = list[tuple[str, str]]  # a name, an address or a folder of sockets, and a port or ""


def parse(rest: str) -> URL:
    """Parse what follows `postgresql://`. Raises ValueError; its message contains no values.

    The query of the result has libpq's parameter names, except asyncpg's `ssl` for `sslmode`.
    """
    found = _URL.fullmatch(rest)
    assert found  # every part is optional
    given = {name: value or "" for name, value in found.groupdict().items()}
    if "@" in given["hosts"] + given["database"]:
        raise ValueError(_MISPLACED)
    parameters = _parameters(given["query"])
    # SQLAlchemy never displays the password of a URL, but displays its query.
    user = parameters.pop("user", "") or decode(given["user"])
    password = parameters.pop("password", "") or decode(given["password"])
    database = parameters.pop("dbname", "") or decode(given["database"])
    _check_user(user)
    return URL.create(
        "postgresql+asyncpg",
        username=user or None,
        password=password or None,
        database=database or None,
        **_located(_hosts(given["hosts"], parameters)),
    ).update_query_dict(_checked(parameters))


def decode(text: str, hint: str = _SPECIAL) -> str:
    # Like libpq, reject incomplete escapes and %00.
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"the database URL has a % without two hexadecimal digits: {hint}")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the database URL has percent-encoded bytes that are not UTF-8") from None
    if "\0" in decoded:
        raise ValueError("the database URL has a zero byte (%00)")
    return decoded


def _check_user(user: str) -> None:
    """Raise ValueError if neither the URL nor the environment names a user.

    libpq and asyncpg then use the name of the operating system's user. In a container the process
    can run as a user without a name.
    """
    if not user and not os.environ.get("PGUSER"):
        try:
            getpass.getuser()
        except (KeyError, OSError):
            raise ValueError(f"the database URL has no user: {_FORM}") from None


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = (decode(part) for part in item.partition("="))
        if name not in _KNOWN:
            # With an @ it may be part of a password that contains a slash and a question mark.
            raise ValueError(_MISPLACED if "@" in query else _unknown(name))
        if not equals:
            raise ValueError(f"the database URL has no value for {name}")
        if name == "host" and name in found:
            value = f"{found[name]},{value}"  # SQLAlchemy's format for several hosts
        elif name in found:
            raise ValueError(f"the database URL has two values for {name}")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _unknown(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
        return "the database URL has a parameter that is not supported"
    close = get_close_matches(name.lower(), _KNOWN, n=1)
    hint = f"did you mean {close[0]}?" if close else "docs/operations.md lists those that are"
    return f"the database URL has the parameter {name}, which is not supported: {hint}"


def _hosts(written: str, parameters: dict[str, str]) -> Hosts:
    """Return the hosts, and remove them and their ports from the parameters."""
    address, named = parameters.pop("hostaddr", ""), parameters.pop("host", "")
    ports = parameters.pop("port", "")
    if address and (named or written):
        raise ValueError("the database URL has both a host and hostaddr: only one is supported")
    if address:
        hosts = [(_address(host), "") for host in address.split(",")]
    elif named:
        hosts = [_named_host(host) for host in named.split(",")]
    else:
        hosts = [_written_host(host) for host in written.split(",")] if written else []
    if not ports:
        return hosts
    listed = [_port(port) for port in ports.split(",")]
    if len(listed) == 1:
        listed *= max(1, len(hosts))
    if len(listed) != max(1, len(hosts)):
        raise ValueError("the database URL must have one port for all hosts, or one for each")
    return [(host, port) for (host, _), port in zip(hosts or [("", "")], listed, strict=True)]


def _written_host(text: str) -> tuple[str, str]:
    """Parse a host before the path: a name, [IPv6] or an encoded folder, with an optional port."""
    found = _HOST.fullmatch(text)
    if not found:
        raise ValueError(f"the database URL has a host that cannot be read: {_FORM}")
    address = found["ip"]
    port = _port(decode(found["port"] or ""))
    if address is None and text.startswith(":"):
        return "", port
    return _host(decode(found["name"])) if address is None else _address(decode(address)), port


def _named_host(text: str) -> tuple[str, str]:
    """Parse a host of the `host` parameter: libpq's without a port, or SQLAlchemy's `name:port`."""
    if text.startswith("/") or (text.count(":") > 1 and not text.startswith("[")):
        return _host(text), ""
    return _written_host(text.replace("%", "%25"))


def _host(host: str) -> str:
    if "," not in host and (host.startswith("/") or _HOST_NAME.fullmatch(host)):
        return host
    return _address(host)


def _address(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(f"the database URL has a host that cannot be read: {_FORM}") from None
    return host


def _port(text: str) -> str:
    if text and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the database URL has a port that is not a number: {_FORM}")
    if text and (len(text) > _PORT_DIGITS or int(text) not in _PORTS):
        raise ValueError("the database URL has a port that is not from 1 to 65535")
    return text


def _located(hosts: Hosts) -> dict[str, Any]:
    # Folders and lists of hosts belong in the query of SQLAlchemy's URL.
    match hosts:
        case []:
            return {}
        case [(host, port)] if not host.startswith("/"):
            return {"host": host or None, "port": int(port) if port else None}
        case [(folder, port)]:
            return {"query": {"host": folder, **({"port": port} if port else {})}}
    names, ports = zip(*hosts, strict=True)
    if not all(names):
        raise ValueError(f"the database URL has an empty host in its list: {_FORM}")
    default = os.environ.get("PGPORT", "")
    default = default if default.isdecimal() else "5432"
    return {"query": {"host": ",".join(names), "port": ",".join(port or default for port in ports)}}


def _checked(parameters: dict[str, str]) -> dict[str, str]:
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
    if parameters.get("sslrootcert") == _SYSTEM:
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


def check_files(url: URL) -> None:
    """Raise ValueError if a file that the URL names cannot be used.

    asyncpg reads the files for each connection. Its errors do not always say which file is wrong.
    """
    given = {name: str(value) for name, value in url.query.items()}
    _check_environment()
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
        if name in given and given[name] != _SYSTEM:
            try:
                load(context, given)
            except ssl.SSLError:
                raise ValueError(
                    f"in the database URL {name} must be a PEM file{_WITH_KEY.get(name, '')}"
                ) from None
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ValueError(f"in the database URL {name} cannot be read: {reason}") from None


def _check_environment() -> None:
    # asyncpg reads these variables for each connection.
    for variable, name in _VARIABLES.items():
        value = os.environ.get(variable)
        if value and value not in _CHOICES[name]:
            raise ValueError(f"the variable {variable} must be {_listed(_CHOICES[name])}")
    for port in os.environ.get("PGPORT", "").split(","):
        if not re.fullmatch("[0-9]{0,5}", port):
            raise ValueError("the variable PGPORT must be a port")


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
    said = {name: int(given.pop(name)) for name in _TCP if name in given}
    tcp = {option: value for name, value in said.items() for option in _TCP[name]}
    in_random_order = given.pop("load_balance_hosts", "") == "random"
    return ConnectOptions(
        _with_tls(given) | {"server_settings": settings},
        seconds if seconds > 0 else None,  # zero or a negative number means no limit
        tcp,
        in_random_order,
    )


def _with_tls(given: dict[str, Any]) -> dict[str, Any]:
    in_url: dict[str, str] = {name: given.pop(name) for name in _IN_URL if name in given}
    if in_url.get("sslrootcert") == _SYSTEM:
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
        if name in given and given[name] != _SYSTEM:
            load(context, given)
    for end, least in (("minimum", "TLSv1.2"), ("maximum", "")):
        if version := given.get(f"ssl_{end[:3]}_protocol_version", least):
            setattr(context, f"{end}_version", ssl.TLSVersion[version.replace(".", "_")])
    context.set_alpn_protocols(["postgresql"])
    return context
