"""What may be logged or traced about an error: its type and its codes, without its message."""

import errno
from collections.abc import Iterator

from db.errors import causes


def summarize(error: BaseException | None) -> str:
    """Return the types of an error and its causes with their codes.

    For example `IntegrityError: UniqueViolationError 23505 users_email_key_key`. The messages are
    not included: they can contain values of rows, of parameters and of requests.
    """
    found = {" ".join(_facts(cause)): None for cause in causes(error)}
    return ": ".join(found) or "None"


def code_of(error: BaseException) -> str | None:
    """Return the code that the database has answered: a SQLSTATE, or SQLite's name."""
    return next(filter(None, map(_database_code, causes(error))), None)


def type_of(error: BaseException) -> str:
    """Return the code of an error, also of the operating system, or the class of the driver's."""
    found = list(causes(error))
    return next(filter(None, map(_code, found)), type(found[-1]).__name__)


def _facts(error: BaseException) -> Iterator[str]:
    yield type(error).__name__
    if code := _code(error):
        yield code
    constraint = getattr(error, "constraint_name", None)
    if isinstance(constraint, str):
        yield constraint


def _code(error: BaseException) -> str | None:
    if code := _database_code(error):
        return code
    return errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None


def _database_code(error: BaseException) -> str | None:
    for name in ("sqlstate", "sqlite_errorname"):
        code = getattr(error, name, None)
        if isinstance(code, str):
            return code
    return None
