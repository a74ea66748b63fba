"""Database URLs: the accepted forms, translated for the two drivers."""

import os
import re
from typing import Final

from sqlalchemy import URL

from db import libpq
from db.connect_options import check_files

_SCHEMES: Final = (
    "a database URL begins with postgresql:// or sqlite:/// (postgres://, postgresql+asyncpg:// "
    "and sqlite+aiosqlite:/// are accepted too)"
)
_OF_PRIMARIES: Final = frozenset({"read-write", "primary"})
_CHOOSING: Final = ("target_session_attrs", "load_balance_hosts")  # from several hosts
_NO_FILE: Final = (
    "the SQLite URL names no file: it looks like sqlite:///./roster.db; a database in memory is "
    "not supported"
)


def parse_url(text: str) -> URL:
    """Parse a database URL. Raises ValueError; its message contains no values of the URL."""
    return _to_primary(_parse(text))


def _parse(text: str) -> URL:
    scheme, separator, rest = text.strip().partition("://")
    backend, _, driver = scheme.lower().partition("+")
    match backend, driver:
        case _ if not separator:
            raise ValueError(f"the database URL cannot be read: {_SCHEMES}")
        case "sqlite", "" | "aiosqlite":
            return _sqlite_url(rest)
        case "postgresql" | "postgres", "" | "asyncpg":
            return libpq.parse(rest)
        case "sqlite" | "postgresql" | "postgres", _:
            raise ValueError(f"the database URL names a driver that is not supported: {_SCHEMES}")
    name = backend if re.fullmatch("[a-z][a-z0-9]{1,15}", backend) else "this"
    raise ValueError(f"{name} is not a database that Roster runs on: {_SCHEMES}")


def parse_replica_urls(text: str) -> list[URL]:
    """Parse the URLs of replicas, separated by spaces. Each host of a URL is a replica.

    Raises ValueError; its message contains no values of the URLs.
    """
    found: list[URL] = []
    for part in text.split():
        url = _parse(part)
        if url.get_backend_name() == "sqlite":
            raise ValueError("SQLite has no replicas: the URL must begin with postgresql://")
        if url.query.get("target_session_attrs") in _OF_PRIMARIES:
            raise ValueError(
                "in the database URL target_session_attrs asks for the primary, not for a replica"
            )
        found += _each_host(url.difference_update_query(_CHOOSING))
    if not found:
        raise ValueError(f"there is no URL: {_SCHEMES}")
    if len(set(found)) < len(found):
        raise ValueError("the database URLs name the same host twice")
    return found


def _each_host(url: URL) -> list[URL]:
    hosts, ports = (str(url.query.get(name, "")).split(",") for name in ("host", "port"))
    if len(hosts) == 1:
        return [url]
    alone = url.difference_update_query(["host", "port"])
    return [
        alone.update_query_dict({"host": host, "port": port})
        if host.startswith("/")
        else alone.set(host=host, port=int(port))
        for host, port in zip(hosts, ports, strict=True)
    ]


def host_of(url: URL) -> str:
    """Return the hosts or the folder of the socket, for messages."""
    return url.host or str(url.query.get("host", "localhost")).replace(",", ", ")


def check_url(url: URL) -> None:
    """Raise ValueError if a file that the URL names cannot be used."""
    if url.get_backend_name() != "sqlite":
        check_files(url)
    elif os.path.isdir(url.database or ""):  # noqa: PTH112 - Path's raises PermissionError
        raise ValueError("the SQLite URL names a folder: it must name a file")


def _to_primary(url: URL) -> URL:
    # Several hosts are a primary and its standbys. Only the primary accepts writes. A file has no
    # host.
    several = "," in str(url.query.get("host", ""))
    if several and "target_session_attrs" not in url.query:
        return url.update_query_dict({"target_session_attrs": "read-write"})
    return url


def _sqlite_url(rest: str) -> URL:
    path, question, _ = rest.partition("?")
    if not path.removeprefix("/") or path.startswith(("/:memory:", "/file:")):
        raise ValueError(_NO_FILE)
    if not path.startswith("/"):
        raise ValueError(
            "the SQLite URL names a host: write a relative path after three slashes "
            "(sqlite:///roster.db), an absolute path after four"
        )
    if question:
        raise ValueError("the SQLite URL has parameters, which are not supported; write ? as %3F")
    file = libpq.decode(path[1:], "write % as %25")
    if file.startswith("~"):
        raise ValueError("the SQLite URL begins with ~, which is not expanded: write the path")
    if file.endswith("/"):
        raise ValueError("the SQLite URL names a folder: it must name a file")
    return URL.create("sqlite+aiosqlite", database=file)
