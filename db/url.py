"""Database URLs as people write them, and as the two drivers take them."""

from sqlalchemy import URL, make_url

# What a PostgreSQL URL can say behind its question mark.
_URL_OPTIONS = {"host", "port", "user", "password", "ssl", "target_session_attrs"}


def parse_url(text: str) -> URL:
    """Read a database URL as people write it; raise ValueError with a line for them.

    `postgres://` and `postgresql://` mean asyncpg, `sqlite:///` means aiosqlite, and libpq's
    `sslmode` is asyncpg's `ssl`.
    """
    try:
        url = make_url(text)
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
    # In their own places, where a password is never shown.
    user, password = query.pop("user", url.username), query.pop("password", url.password)
    return url.set(
        drivername="postgresql+asyncpg",
        query=query,
        username=str(user or "") or None,
        password=str(password or "") or None,
    )
