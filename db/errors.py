"""What a database error means, by its code.

One table classifies each error. *Unavailable*: the request is valid and can be sent again later.
*Retry*: nothing was done, and the same transaction can be retried now. *Bug*: a bug of Roster. All
transports and commands use this table.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from asyncpg import (
    InterfaceError,
    InternalClientError,
    InvalidCachedStatementError,
    PostgresError,
    TargetServerAttributeNotMatched,
)
from asyncpg.exceptions import OutdatedSchemaCacheError
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    EmulatedDBAPIException,
    IntegrityError,
    InvalidRequestError,
    PendingRollbackError,
    ResourceClosedError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class ReadOnlyError(ConnectionError):
    """The server answers but accepts no writes."""


class StandbyError(ConnectionError):
    """The server is a standby that may lag behind the primary; only the primary can answer."""


class Verdict(StrEnum):
    UNAVAILABLE = "unavailable"
    RETRY = "retry"
    BUG = "bug"


_UNAVAILABLE, _RETRY, _BUG = Verdict.UNAVAILABLE, Verdict.RETRY, Verdict.BUG

# SQLSTATEs and their classes (PostgreSQL documentation, appendix A). The longest matching prefix
# counts. A code that is not listed is a bug, unless the server closed the connection (`FATAL`).
SQLSTATES: Final[Mapping[str, Verdict]] = {
    "08": _UNAVAILABLE,  # connection exceptions
    "25006": _UNAVAILABLE,  # the primary became read-only, or is a standby
    "25P02": _UNAVAILABLE,  # the transaction had already failed
    "25P03": _UNAVAILABLE,  # idle_in_transaction_session_timeout
    "25P04": _UNAVAILABLE,  # transaction_timeout
    "26000": _RETRY,  # a pooler's server connection does not know the prepared statement
    "28": _UNAVAILABLE,  # authorization: the role or its password was changed
    "3D000": _UNAVAILABLE,  # the database does not exist
    "3F000": _UNAVAILABLE,  # the schema does not exist
    "40001": _RETRY,  # a serialization failure, or a conflict with recovery
    "40003": _UNAVAILABLE,  # it is unknown whether the statement was completed
    "40P01": _RETRY,  # a deadlock
    "42501": _UNAVAILABLE,  # a privilege was revoked
    "42P01": _UNAVAILABLE,  # a table is missing: the database is being restored
    "42P05": _RETRY,  # a pooler's server connection has another client's prepared statement
    "53": _UNAVAILABLE,  # disk full, out of memory, too many connections
    "55": _UNAVAILABLE,  # lock_timeout, or the database accepts no connections
    "55P02": _BUG,  # a setting that cannot be changed now
    "55P04": _BUG,  # a new enum value that cannot be used yet
    "57": _UNAVAILABLE,  # statement_timeout, and an administrator's commands
    "58": _UNAVAILABLE,  # input and output errors
    "72": _UNAVAILABLE,  # the snapshot is too old
    "F0": _UNAVAILABLE,  # invalid server configuration
    "XX001": _UNAVAILABLE,  # corrupted data
    "XX002": _UNAVAILABLE,  # a corrupted index
}

# SQLite's result codes: the extended code if listed, otherwise the primary code (its lowest byte).
# SQLITE_ERROR is a bug: wrong SQL and a missing table have the same code.
SQLITE_CODES: Final[Mapping[int, Verdict]] = {
    sqlite3.SQLITE_PERM: _UNAVAILABLE,
    sqlite3.SQLITE_BUSY: _UNAVAILABLE,  # another process held the lock longer than busy_timeout
    sqlite3.SQLITE_BUSY_SNAPSHOT: _RETRY,
    sqlite3.SQLITE_LOCKED: _UNAVAILABLE,
    sqlite3.SQLITE_NOMEM: _UNAVAILABLE,
    sqlite3.SQLITE_READONLY: _UNAVAILABLE,
    sqlite3.SQLITE_INTERRUPT: _UNAVAILABLE,
    sqlite3.SQLITE_IOERR: _UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: _UNAVAILABLE,
    sqlite3.SQLITE_FULL: _UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: _UNAVAILABLE,
    sqlite3.SQLITE_PROTOCOL: _UNAVAILABLE,
    sqlite3.SQLITE_SCHEMA: _RETRY,
    sqlite3.SQLITE_AUTH: _UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: _UNAVAILABLE,
}

# Errors of the drivers and of SQLAlchemy without a code. The first matching class counts.
CLASSES: Final[Mapping[type[BaseException], Verdict]] = {
    InvalidCachedStatementError: _RETRY,  # 0A000: the plan predates an ALTER TABLE
    OutdatedSchemaCacheError: _RETRY,  # the same, for a type
    InternalClientError: _UNAVAILABLE,  # for example, no host has the target_session_attrs
    PoolTimeoutError: _UNAVAILABLE,
    DisconnectionError: _UNAVAILABLE,
    ResourceClosedError: _UNAVAILABLE,
    PendingRollbackError: _UNAVAILABLE,
    OSError: _UNAVAILABLE,  # includes TimeoutError
}

# Texts of drivers' errors, which have no code, about a connection that is closed or in use.
_CLOSED_TEXTS: Final = (
    "connection is closed",
    "another operation",
    "connection closed",
    "no active connection",
    "closed database",
)

# The server cannot be reached, has too many connections, or is starting or stopping.
_NOT_CONNECTED: Final = ("08", "53300", "57P")
_UNIQUE_VIOLATION: Final = "23505"
_LOCK_NOT_AVAILABLE: Final = "55P03"
_READ_ONLY: Final = "25006"
_UNRESOLVED: Final = ("08007", "40003")  # the server does not know whether it committed
# After these errors the same statement fails again on the same connection.
_UNFIT: Final = ("25P02", "26000", "42P05", _READ_ONLY)
_SQLITE_UNFIT: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)
_PRIMARY: Final = 0xFF
# Classes of SQLSTATEs whose messages name servers, roles, settings, tables and columns only.
_WITHOUT_VALUES: Final = (
    *("08", "0A", "25", "26", "28", "3D", "3F", "40", "42"),
    *("53", "54", "55", "57", "58", "F0", "XX"),
)


def verdict(error: BaseException | None) -> Verdict:
    """Classify an error of any layer: the driver, SQLAlchemy or the operating system."""
    for cause in causes(error):
        found = _of_driver(cause)
        if found is not _BUG:
            return found
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _UNAVAILABLE
    return _BUG


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether the cause is the database, not the request or a bug."""
    return verdict(error) is not _BUG


def is_not_connected(error: BaseException) -> bool:
    """Return whether the server refused or closed the connection, and may accept one later.

    So does a cluster without a primary, if the URL demands one.
    """
    return any(
        isinstance(cause, OSError | TargetServerAttributeNotMatched)
        or (_sqlstate(cause) or "").startswith(_NOT_CONNECTED)
        for cause in causes(error)
    )


def is_passing(error: BaseException | None) -> bool:
    """Return whether nothing was done and a retry of the same transaction may succeed."""
    return verdict(error) is _RETRY


def is_lock_timeout(error: BaseException | None) -> bool:
    """Return whether a lock was not granted within PostgreSQL's `lock_timeout`."""
    return any(_sqlstate(cause) == _LOCK_NOT_AVAILABLE for cause in causes(error))


def is_read_only(error: BaseException | None) -> bool:
    """Return whether the server or file accepts no writes.

    A new connection may reach one that does.
    """
    return any(
        isinstance(cause, ReadOnlyError)
        or _sqlstate(cause) == _READ_ONLY
        or _primary_code(cause) == sqlite3.SQLITE_READONLY
        for cause in causes(error)
    )


def spoils_connection(error: BaseException | None) -> bool:
    """Return whether the connection is unusable although it is open."""
    return any(
        _sqlstate(cause) in _UNFIT
        or _primary_code(cause) in _SQLITE_UNFIT
        or isinstance(cause, InvalidCachedStatementError | InternalClientError)
        or (isinstance(cause, InterfaceError) and _says_closed(cause))
        for cause in causes(error)
    )


def is_of_database(error: BaseException) -> bool:
    """Return whether the database raised the error, with any verdict."""
    return is_unreachable(error) or isinstance(
        error, SQLAlchemyError | sqlite3.Error | PostgresError | InterfaceError
    )


def message_of(error: BaseException) -> str:
    # Without the details, which can contain rows. Messages about data contain values, too.
    *_, innermost = causes(error)
    state = _sqlstate(innermost)
    if state and not state.startswith(_WITHOUT_VALUES):
        return f"{type(innermost).__name__} {state}"
    is_of_driver = isinstance(innermost, PostgresError | InterfaceError)
    told = str(innermost.args[0] if is_of_driver and innermost.args else innermost)
    return " ".join(told.split()) or type(innermost).__name__


def is_unique_violation(error: IntegrityError) -> bool:
    return any(
        _sqlstate(cause) == _UNIQUE_VIOLATION
        or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_UNIQUE
        for cause in causes(error)
    )


def is_known_undone(error: BaseException) -> bool:
    """Return whether a failed COMMIT was certainly rolled back.

    True if the server reported it, or if COMMIT was never sent. False if the connection was lost,
    or if SQLite failed to write: the transaction may be in its log and be recovered from there.
    """
    for cause in causes(error):
        if isinstance(cause, InterfaceError):
            return True
        if isinstance(cause, PostgresError):
            return _severity(cause) == "ERROR" and _sqlstate(cause) not in _UNRESOLVED
        if isinstance(cause, sqlite3.Error):
            return _primary_code(cause) not in {None, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}
    return False


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and the errors it wraps: SQLAlchemy's, the dialect's and the driver's."""
    if error is None:
        return
    yield error
    translated = error.orig if isinstance(error, DBAPIError) else error
    if translated is None:
        return
    if translated is not error:
        yield translated
    wraps = translated is not error or isinstance(error, EmulatedDBAPIException)
    if wraps and translated.__cause__ is not None:
        yield translated.__cause__


def _of_driver(error: BaseException) -> Verdict:
    for kind, found in CLASSES.items():
        if isinstance(error, kind):
            return found
    if (state := _sqlstate(error)) is not None:
        return _of_sqlstate(state, is_fatal=_is_fatal(error))
    if (code := getattr(error, "sqlite_errorcode", None)) is not None:
        return SQLITE_CODES.get(code, SQLITE_CODES.get(code & _PRIMARY, _BUG))
    if isinstance(error, InterfaceError | sqlite3.Error | InvalidRequestError) and _says_closed(
        error
    ):
        return _UNAVAILABLE
    return _BUG


def _of_sqlstate(state: str, *, is_fatal: bool) -> Verdict:
    for length in range(len(state), 1, -1):
        if found := SQLSTATES.get(state[:length]):
            return found
    return _UNAVAILABLE if is_fatal else _BUG


def _is_fatal(error: BaseException) -> bool:
    # The server closes the connection with these errors.
    return _severity(error) in {"FATAL", "PANIC"}


def _severity(error: BaseException) -> str | None:
    # An error of the driver itself has no severity.
    return getattr(error, "severity_en", None) or getattr(error, "severity", None)


def _says_closed(error: BaseException) -> bool:
    told = str(error).lower()
    return any(text in told for text in _CLOSED_TEXTS)


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


def _primary_code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY
