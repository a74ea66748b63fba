"""What an error of the database means, by its code.

One table says of each error whether the database is *unavailable* (the request is right, and can be
sent again later), whether the same transaction can be tried again now (*retry*: the database says
that nothing was done), or whether it is a *bug* of ours. All transports and commands use it.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from asyncpg import InterfaceError, InternalClientError, InvalidCachedStatementError, PostgresError
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
    """The server answers, and takes no writes."""


class Verdict(StrEnum):
    """What an error asks for."""

    UNAVAILABLE = "unavailable"
    RETRY = "retry"
    BUG = "bug"


_UNAVAILABLE, _RETRY, _BUG = Verdict.UNAVAILABLE, Verdict.RETRY, Verdict.BUG

# SQLSTATEs of PostgreSQL, appendix A, and their classes. The longest prefix counts; a code that is
# not listed is a bug of ours, unless the server ended the connection with it (`FATAL`).
SQLSTATES: Final[Mapping[str, Verdict]] = {
    "08": _UNAVAILABLE,  # connection exceptions
    "25006": _UNAVAILABLE,  # a primary that became read-only, or a standby
    "25P02": _UNAVAILABLE,  # a transaction that failed before
    "25P03": _UNAVAILABLE,  # idle_in_transaction_session_timeout
    "25P04": _UNAVAILABLE,  # transaction_timeout
    "26000": _RETRY,  # a prepared statement that this server connection, of a pooler, doesn't know
    "28": _UNAVAILABLE,  # authorization: the role or its password was changed
    "3D000": _UNAVAILABLE,  # there is no such database
    "3F000": _UNAVAILABLE,  # nor such a schema
    "40001": _RETRY,  # a serialization failure, a conflict with recovery
    "40003": _UNAVAILABLE,  # whether the statement was completed is unknown
    "40P01": _RETRY,  # a deadlock
    "42501": _UNAVAILABLE,  # a privilege was taken away
    "42P01": _UNAVAILABLE,  # a table is missing: the database is being restored
    "42P05": _RETRY,  # a prepared statement of somebody else's, through a pooler
    "53": _UNAVAILABLE,  # disk full, out of memory, too many connections
    "55": _UNAVAILABLE,  # lock_timeout, the database accepts no connections
    "55P02": _BUG,  # a setting that cannot be changed now
    "55P04": _BUG,  # an enum's value that is too new
    "57": _UNAVAILABLE,  # statement_timeout, and what administrators do
    "58": _UNAVAILABLE,  # input and output
    "72": _UNAVAILABLE,  # a snapshot that is too old
    "F0": _UNAVAILABLE,  # the server's configuration
    "XX001": _UNAVAILABLE,  # corrupted data
    "XX002": _UNAVAILABLE,  # a corrupted index
}

# Result codes of SQLite: an extended one, else the primary one that it has in its lowest byte.
# SQLITE_ERROR is a bug, as it is for wrong SQL; a missing table cannot be told from it.
SQLITE_CODES: Final[Mapping[int, Verdict]] = {
    sqlite3.SQLITE_PERM: _UNAVAILABLE,
    sqlite3.SQLITE_BUSY: _UNAVAILABLE,  # locked by another process for longer than we wait
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

# Errors of the drivers and of SQLAlchemy that have no code; the first that fits counts.
CLASSES: Final[Mapping[type[BaseException], Verdict]] = {
    InvalidCachedStatementError: _RETRY,  # 0A000: the plan is of before an ALTER TABLE
    OutdatedSchemaCacheError: _RETRY,  # the same, of a type
    InternalClientError: _UNAVAILABLE,  # also that no host has the target_session_attrs
    PoolTimeoutError: _UNAVAILABLE,
    DisconnectionError: _UNAVAILABLE,
    ResourceClosedError: _UNAVAILABLE,
    PendingRollbackError: _UNAVAILABLE,
    OSError: _UNAVAILABLE,  # a TimeoutError is one too
}

# What drivers say of a connection that was closed meanwhile or is in use: they have no code for it.
_CLOSED_TEXTS: Final = (
    "connection is closed",
    "another operation",
    "connection closed",
    "no active connection",
    "closed database",
)

_UNIQUE_VIOLATION: Final = "23505"
_READ_ONLY: Final = "25006"
_UNRESOLVED: Final = ("08007", "40003")  # the server doesn't know itself whether it was done
# After these the same statement fails on the same connection again.
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


def verdict(error: BaseException | None) -> Verdict:
    """Look an error up, whichever layer raised it: a driver, SQLAlchemy or the operating system."""
    for cause in _causes(error):
        found = _of_driver(cause)
        if found is not _BUG:
            return found
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _UNAVAILABLE
    return _BUG


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether the database, and not the request or a bug, is at fault."""
    return verdict(error) is not _BUG


def is_passing(error: BaseException | None) -> bool:
    """Return whether nothing was done, and the same transaction, tried again, may well succeed."""
    return verdict(error) is _RETRY


def is_read_only(error: BaseException | None) -> bool:
    """Return whether the server or file takes no writes: another connection may lead to one."""
    return any(
        isinstance(cause, ReadOnlyError)
        or _sqlstate(cause) == _READ_ONLY
        or _primary_code(cause) == sqlite3.SQLITE_READONLY
        for cause in _causes(error)
    )


def spoils_connection(error: BaseException | None) -> bool:
    """Return whether the connection is of no use any more, although it is open."""
    return any(
        _sqlstate(cause) in _UNFIT
        or _primary_code(cause) in _SQLITE_UNFIT
        or isinstance(cause, InvalidCachedStatementError | InternalClientError)
        or (isinstance(cause, InterfaceError) and _says_closed(cause))
        for cause in _causes(error)
    )


def is_of_database(error: BaseException) -> bool:
    """Return whether the database raised an error, whatever it means."""
    return is_unreachable(error) or isinstance(
        error, SQLAlchemyError | sqlite3.Error | PostgresError | InterfaceError
    )


def message_of(error: BaseException) -> str:
    """Return what the database says, in one line, less the details: they can be rows."""
    *_, innermost = _causes(error)
    is_of_driver = isinstance(innermost, PostgresError | InterfaceError)
    told = str(innermost.args[0] if is_of_driver and innermost.args else innermost)
    return " ".join(told.split()) or type(innermost).__name__


def is_unique_violation(error: IntegrityError) -> bool:
    """Distinguish a taken unique key from other broken constraints, by code and not by message."""
    return any(
        _sqlstate(cause) == _UNIQUE_VIOLATION
        or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_UNIQUE
        for cause in _causes(error)
    )


def is_known_undone(error: BaseException) -> bool:
    """Return, of an error in answer to COMMIT, whether the transaction was certainly rolled back.

    The server said so, or COMMIT was never sent. Not where the connection ended with it, nor where
    SQLite could not write: the transaction may be in its log, and be recovered from there.
    """
    for cause in _causes(error):
        if isinstance(cause, InterfaceError):
            return True
        if isinstance(cause, PostgresError):
            return _severity(cause) == "ERROR" and _sqlstate(cause) not in _UNRESOLVED
        if isinstance(cause, sqlite3.Error):
            return _primary_code(cause) not in {None, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it wraps: SQLAlchemy's, its dialect's, the driver's."""
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
    """Return whether the server ended the connection with it."""
    return _severity(error) in {"FATAL", "PANIC"}


def _severity(error: BaseException) -> str | None:
    """Return what a server says of its error; None for an error that the driver made itself."""
    return getattr(error, "severity_en", None) or getattr(error, "severity", None)


def _says_closed(error: BaseException) -> bool:
    told = str(error).lower()
    return any(text in told for text in _CLOSED_TEXTS)


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


def _primary_code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY
