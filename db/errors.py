"""What an error of the database means, by its code and never by its message."""

import sqlite3

from asyncpg import PostgresError
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# SQLSTATEs of PostgreSQL, appendix A: of a taken key, of a transaction that can be tried again
# (a serialization failure, a deadlock), and of a server that isn't to be had: class 08 and 28, one
# that stops or starts, one that is full, a primary that became a standby, a database that is gone.
_UNIQUE_VIOLATION = "23505"
_PASSING = ("40001", "40P01")
_UNREACHABLE = ("08", "28", "57P0", "53300", "25006", "3D000")
_SQLITE_UNREACHABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}


def is_unique_violation(error: IntegrityError) -> bool:
    """Tell a taken unique key from every other broken constraint, by code, never by message."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_UNIQUE
    return _sqlstate(error) == _UNIQUE_VIOLATION


def is_passing(error: DBAPIError) -> bool:
    """Tell whether the same transaction, tried again, may well succeed."""
    return _sqlstate(error) in _PASSING


def is_unreachable(error: BaseException | None) -> bool:
    """Tell whether the database, and not the request, is at fault: it is gone, stopping or full."""
    match error:
        case PoolTimeoutError() | OSError():  # a TimeoutError is an OSError too
            return True
        case PostgresError():
            return str(error.sqlstate).startswith(_UNREACHABLE)
        case sqlite3.Error():
            return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_UNREACHABLE
        case DBAPIError(connection_invalidated=True):
            return True
        case DBAPIError(orig=sqlite3.Error() as cause):
            return is_unreachable(cause)
        case DBAPIError():
            return is_unreachable(getattr(error.orig, "__cause__", None))
        case EmulatedDBAPIException():  # as SQLAlchemy's dialect for asyncpg translates
            return is_unreachable(error.__cause__)
        case _:
            return False


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
