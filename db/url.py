"""Database URLs: the accepted forms, translated for the two drivers."""

import os
import re
from typing import Final

from sqlalchemy import URL

from db import libpq

_SCHEMES: Final = (
    "a database URL begins with postgresql:// or sqlite:/// (postgres://, postgresql+asyncpg:// "
    "and sqlite+aiosqlite:/// are accepted too)"
)
_NO_FILE: Final = (
    "the SQLite URL names no file: it looks like sqlite:///./roster.db; a database in memory is "
    "not supported"
)


def parse_url(text: str) -> URL:
    """Parse a database URL. Raises ValueError; its message contains no values of the URL."""
    scheme, separator, rest = text.strip().partition("://")
    backend, _, driver = scheme.lower().partition("+")
    match backend, driver:
        case _ if not separator:
            raise ValueError(f"the database URL cannot be read: {_SCHEMES}")
        case "sqlite", "" | "aiosqlite":
            return _sqlite_url(rest)
        case "postgresql" | "postgres", "" | "asyncpg":
            return _to_primary(libpq.parse(rest))
        case "sqlite" | "postgresql" | "postgres", _:
            raise ValueError(f"the database URL names a driver that is not supported: {_SCHEMES}")
    name = backend if re.fullmatch("[a-z][a-z0-9]{1,15}", backend) else "this"
    raise ValueError(f"{name} is not a database that Roster runs on: {_SCHEMES}")


def check_url(url: URL) -> None:
    """Raise ValueError if a file that the URL names cannot be used."""
    if url.get_backend_name() != "sqlite":
        libpq.check_files(url)
    elif os.path.isdir(url.database or ""):  # noqa: PTH112 - Path's raises PermissionError
        raise ValueError("the SQLite URL names a folder: it must name a file")


def _to_primary(url: URL) -> URL:
    # Several hosts are a primary and its standbys. Only the primary accepts writes.
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
