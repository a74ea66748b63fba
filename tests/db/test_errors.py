"""One table classifies each error: the database is unavailable, retry, or a bug."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from asyncpg import PostgresError
from sqlalchemy import text
from sqlalchemy.exc import (
    DBAPIError,
    InvalidatePoolError,
    InvalidRequestError,
    PendingRollbackError,
    ResourceClosedError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.errors import (
    ReadOnlyError,
    Verdict,
    is_known_undone,
    is_read_only,
    message_of,
    spoils_connection,
    verdict,
)
from tests.conftest import opened

U, R, B = Verdict.UNAVAILABLE, Verdict.RETRY, Verdict.BUG

SQLSTATES = {
    "08000": U,
    "08003": U,
    "08006": U,
    "08007": U,
    "08P01": U,
    "0A000": B,
    "21000": B,
    "22001": B,
    "22P02": B,
    "23502": B,
    "23505": B,
    "25001": B,
    "25006": U,
    "25P02": U,
    "25P03": U,
    "25P04": U,
    "26000": R,
    "28000": U,
    "28P01": U,
    "3D000": U,
    "3F000": U,
    "40001": R,
    "40003": U,
    "40P01": R,
    "42501": U,
    "42601": B,
    "42703": B,
    "42883": B,
    "42P01": U,
    "42P05": R,
    "53000": U,
    "53100": U,
    "53200": U,
    "53300": U,
    "53400": U,
    "54000": B,
    "55000": U,
    "55006": U,
    "55P02": B,
    "55P03": U,
    "55P04": B,
    "57000": U,
    "57014": U,
    "57P01": U,
    "57P02": U,
    "57P03": U,
    "57P04": U,
    "57P05": U,
    "58000": U,
    "58030": U,
    "58P01": U,
    "72000": U,
    "F0000": U,
    "P0001": B,
    "XX000": B,
    "XX001": U,
    "XX002": U,
    "ZZZZZ": B,
}
SQLITE = {
    sqlite3.SQLITE_ERROR: B,
    sqlite3.SQLITE_PERM: U,
    sqlite3.SQLITE_BUSY: U,
    sqlite3.SQLITE_BUSY_RECOVERY: U,
    sqlite3.SQLITE_BUSY_SNAPSHOT: R,
    sqlite3.SQLITE_LOCKED: U,
    sqlite3.SQLITE_LOCKED_SHAREDCACHE: U,
    sqlite3.SQLITE_NOMEM: U,
    sqlite3.SQLITE_READONLY: U,
    sqlite3.SQLITE_READONLY_DBMOVED: U,
    sqlite3.SQLITE_INTERRUPT: U,
    sqlite3.SQLITE_IOERR: U,
    sqlite3.SQLITE_IOERR_FSTAT: U,
    sqlite3.SQLITE_CORRUPT: U,
    sqlite3.SQLITE_FULL: U,
    sqlite3.SQLITE_CANTOPEN: U,
    sqlite3.SQLITE_CANTOPEN_ISDIR: U,
    sqlite3.SQLITE_PROTOCOL: U,
    sqlite3.SQLITE_SCHEMA: R,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: B,
    sqlite3.SQLITE_MISUSE: B,
    sqlite3.SQLITE_RANGE: B,
    sqlite3.SQLITE_NOTADB: U,
}


def postgres(sqlstate: str, severity: str = "ERROR", source: str = "") -> PostgresError:
    """Makes an error the way asyncpg does from a server message."""
    fields = {"C": sqlstate, "V": severity, "S": severity, "M": "said", "R": source}
    error: PostgresError = PostgresError.new(fields)
    return error


def sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    return error


def translated(cause: BaseException) -> DBAPIError:
    """Wrap a driver's error as SQLAlchemy's dialects do."""
    if isinstance(cause, sqlite3.Error):
        return DBAPIError("SELECT 1", {}, cause)
    wrapper = RuntimeError()
    wrapper.__cause__ = cause
    return DBAPIError("SELECT 1", {}, wrapper)


as_it_is_or_translated = pytest.mark.parametrize("as_raised", [lambda error: error, translated])


@as_it_is_or_translated
@pytest.mark.parametrize(("sqlstate", "expected"), SQLSTATES.items())
def test_every_sqlstate_has_its_verdict(
    sqlstate: str, expected: Verdict, as_raised: Callable[[Any], Any]
) -> None:
    assert verdict(as_raised(postgres(sqlstate))) is expected


@pytest.mark.parametrize("sqlstate", ["42704", "22023", "XX000"])
def test_fatal_error_is_unavailable_instead_of_bug(sqlstate: str) -> None:
    assert verdict(postgres(sqlstate, "FATAL")) is U
    assert verdict(postgres(sqlstate)) is B


@as_it_is_or_translated
@pytest.mark.parametrize(("code", "expected"), SQLITE.items())
def test_every_result_code_of_sqlite_has_its_verdict(
    code: int, expected: Verdict, as_raised: Callable[[Any], Any]
) -> None:
    assert verdict(as_raised(sqlite(code))) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, B),
        (ValueError(), B),
        (ZeroDivisionError(), B),
        (ConnectionResetError(), U),
        (TimeoutError(), U),
        (ReadOnlyError(), U),
        (PoolTimeoutError(), U),
        (InvalidatePoolError(), U),
        (ResourceClosedError("This Connection is closed"), U),
        (PendingRollbackError("Can't reconnect until invalid transaction is rolled back."), U),
        (InvalidRequestError("This connection is closed"), U),
        (InvalidRequestError("another"), B),
        (asyncpg.InternalClientError(), U),
        (asyncpg.TargetServerAttributeNotMatched(), U),
        (asyncpg.OutdatedSchemaCacheError("said"), R),
        (postgres("0A000", source="RevalidateCachedQuery"), R),
        (asyncpg.DataError("invalid input for query argument $1"), B),
        (asyncpg.InterfaceError("the server expects 1 argument"), B),
        (DBAPIError("x", {}, RuntimeError()), B),
        (DBAPIError("x", {}, RuntimeError(), connection_invalidated=True), U),
    ],
    ids=repr,
)
def test_errors_without_a_code_are_classified_by_class(
    error: BaseException | None, expected: Verdict
) -> None:
    assert verdict(error) is expected


def test_bug_caused_by_an_outage_stays_a_bug() -> None:
    bug = ValueError()
    bug.__cause__ = ConnectionResetError()
    assert verdict(bug) is B


@as_it_is_or_translated
def test_spoils_connection_only_for_errors_that_persist(as_raised: Callable[[Any], Any]) -> None:
    stale = postgres("0A000", source="RevalidateCachedQuery")
    spoils = [*map(postgres, ("25006", "25P02", "26000", "42P05")), stale]
    spoils += [sqlite(code) for code in (sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR)]
    leaves = [*map(postgres, ("40001", "53100", "57014", "23505")), sqlite(sqlite3.SQLITE_BUSY)]
    assert [spoils_connection(as_raised(error)) for error in spoils] == [True] * len(spoils)
    assert [spoils_connection(as_raised(error)) for error in leaves] == [False] * len(leaves)
    assert [is_read_only(as_raised(error)) for error in spoils] == [True, *[False] * 4, True, False]


@as_it_is_or_translated
@pytest.mark.parametrize(
    ("error", "undone"),
    [
        (postgres("40001"), True),
        (postgres("53100"), True),
        (postgres("57P01", "FATAL"), False),
        (postgres("08007"), False),
        (postgres("40003"), False),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle"), False),
        (asyncpg.InterfaceError("connection is closed"), True),
        (TimeoutError(), False),
        (ConnectionResetError(), False),
        (sqlite(sqlite3.SQLITE_FULL), True),
        (sqlite(sqlite3.SQLITE_BUSY), True),
        (sqlite(sqlite3.SQLITE_IOERR_WRITE), False),
        (sqlite3.OperationalError("no active connection"), False),
    ],
    ids=repr,
)
def test_a_commit_is_undone_only_if_the_database_says_so(
    error: Exception, as_raised: Callable[[Any], Any], *, undone: bool
) -> None:
    assert is_known_undone(as_raised(error)) is undone


async def test_driver_errors_on_a_closed_connection_are_unavailable(database_url: str) -> None:
    """These errors have no code, so the test provokes them in the real drivers."""
    async with opened(database_url, pool_size=1) as database:
        async with database.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.close()
            with pytest.raises(Exception, match=r"closed|no active connection") as caught:
                await driver.execute("SELECT 1")
            # aiosqlite raises ValueError, which SQLAlchemy's dialect translates.
            assert database.is_sqlite or verdict(caught.value) is U
            with pytest.raises(DBAPIError) as raised:
                await connection.execute(text("SELECT 1"))
            assert verdict(raised.value) is U
            await connection.invalidate()
        await database.ping()


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_busy_connection_error_is_unavailable_and_spoils_the_connection(
    database: Database,
) -> None:
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        sleeping = asyncio.create_task(driver.execute("SELECT pg_sleep(600)"))
        await asyncio.sleep(0)
        with pytest.raises(asyncpg.InterfaceError) as caught:
            await driver.execute("SELECT 1")
        assert verdict(caught.value) is U
        assert spoils_connection(caught.value)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        await connection.invalidate()


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("28P01", "told"),
        ("42501", "told"),
        ("22P02", "InvalidTextRepresentationError 22P02"),
        ("23505", "UniqueViolationError 23505"),
        ("P0001", "RaiseError P0001"),
        ("ZZ001", "UnknownPostgresError ZZ001"),
    ],
)
def test_message_about_data_is_replaced_by_its_code(sqlstate: str, message: str) -> None:
    """For example: invalid input syntax for type uuid: "ada@example.com"."""
    driver = asyncpg.PostgresError.new({"C": sqlstate, "M": "told", "S": "ERROR", "V": "ERROR"})
    assert message_of(DBAPIError("SELECT", None, driver)) == message
