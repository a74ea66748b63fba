"""Database URLs as people write them, and as the two drivers take them."""

import re
from typing import Final

from sqlalchemy import URL, make_url

# What a PostgreSQL URL can say behind its question mark.
_URL_OPTIONS = {"host", "port", "user", "password", "ssl", "target_session_attrs"}
# Of libpq's way to name several hosts: postgresql://user@first:5432,second:5432/name
_SEVERAL_HOSTS: Final = re.compile(
    r"(?P<head>[a-z+]+://(?:[^@/?#]*@)?)(?P<hosts>[^@/?#]*,[^@/?#]*)(?P<path>(?:/[^?#]*)?)\??(?P<query>.*)",
    re.DOTALL,
)
_HOST: Final = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_PORT: Final = "5432"


def parse_url(text: str) -> URL:
    """Read a database URL as people write it; raise ValueError with a line for them.

    `postgres://` and `postgresql://` mean asyncpg, `sqlite:///` means aiosqlite, and libpq's
    `sslmode` is asyncpg's `ssl`.
    """
    try:
        url = make_url(_with_hosts_as_options(text))
        backend = url.get_backend_name()
    except Exception as error:
        raise ValueError(
            "the database URL cannot be read: it looks like postgresql://user@host/name"
        ) from error
    if backend == "sqlite":
        return _sqlite_url(url)
    if backend in {"postgresql", "postgres"}:
        return _postgres_url(url)
    raise ValueError(f"{backend} is not a database that Roster runs on: SQLite and PostgreSQL are")


def _with_hosts_as_options(text: str) -> str:
    """Name several hosts as SQLAlchemy reads them."""
    found = _SEVERAL_HOSTS.fullmatch(text)
    if found is None:
        return text
    hosts, ports = [], []
    for named in found["hosts"].split(","):
        host = _HOST.fullmatch(named)
        if host is None:
            return text  # which cannot be read
        hosts.append(host["address"] or host["name"])
        ports.append(host["port"] or _PORT)
    options = f"host={','.join(hosts)}&port={','.join(ports)}"
    return f"{found['head']}{found['path']}?{'&'.join(filter(None, (options, found['query'])))}"


def _sqlite_url(url: URL) -> URL:
    if url.database in {None, "", ":memory:"} or url.query:
        raise ValueError("the SQLite URL names no file: it looks like sqlite:///./roster.db")
    return url.set(drivername="sqlite+aiosqlite")


def _postgres_url(url: URL) -> URL:
    query = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items()}
    if unknown := ", ".join(sorted(set(query) - _URL_OPTIONS)):
        raise ValueError(f"the database URL has an option that Roster doesn't know: {unknown}")
    if not 0 < (url.port or 1) < 2**16:
        raise ValueError("the database URL has a port that cannot be: it is from 1 to 65535")
    if has_several_hosts(url):
        # They are a primary and its standbys, whichever is which by now.
        query.setdefault("target_session_attrs", "read-write")
    # In their own places, where a password is never shown.
    user, password = query.pop("user", url.username), query.pop("password", url.password)
    return url.set(
        drivername="postgresql+asyncpg",
        query=query,
        username=str(user or "") or None,
        password=str(password or "") or None,
    )


def has_several_hosts(url: URL) -> bool:
    hosts = url.query.get("host", ())
    return len(hosts) > 1 if isinstance(hosts, tuple) else "," in hosts
