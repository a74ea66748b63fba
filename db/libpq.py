"""libpq's connection URLs, parsed into SQLAlchemy's.

The grammar and the parameters are those of
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING. Error messages contain
names of parameters but never values: in a malformed URL any value can be part of a password.
"""

import getpass
import os
import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import URL

from db.libpq_parameters import KNOWN, check_parameters, unknown_parameter

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
_PORTS: Final = range(1, 2**16)
_PORT_DIGITS: Final = 5

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
    ).update_query_dict(check_parameters(parameters))


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
        if name not in KNOWN:
            # With an @ it may be part of a password that contains a slash and a question mark.
            raise ValueError(_MISPLACED if "@" in query else unknown_parameter(name))
        if not equals:
            raise ValueError(f"the database URL has no value for {name}")
        if name == "host" and name in found:
            value = f"{found[name]},{value}"  # SQLAlchemy's format for several hosts
        elif name in found:
            raise ValueError(f"the database URL has two values for {name}")
        found[name] = value
    return {name: value for name, value in found.items() if value}


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
