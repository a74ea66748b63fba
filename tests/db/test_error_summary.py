"""Metrics and traces name an error by its code, or by its class."""

import errno
import sqlite3
from asyncio import CancelledError
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.error_summary import code_of, type_of
from db.prepared import PreparedStatement
from tests.db.test_observation import WRONG


async def test_error_of_a_statement_is_its_code_on_both_paths(database: Database) -> None:
    found: list[BaseException] = []
    async with database.session() as session:
        for read in (session.fetch, read_normally(session)):
            with pytest.raises(Exception, match="nowhere") as error:
                await read(WRONG)
            found.append(error.value)
    code = "SQLITE_ERROR" if database.is_sqlite else "42P01"
    assert [*map(type_of, found), *map(code_of, found)] == [code] * 4


def read_normally(session: Any) -> Any:
    async def read(statement: PreparedStatement) -> None:
        await session.execute(statement.statement)

    return read


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (PoolTimeoutError(), "TimeoutError"),
        (sqlite3.InterfaceError(), "InterfaceError"),
        (CancelledError(), "CancelledError"),
        (DBAPIError("", {}, asyncpg.InterfaceError("closed")), "InterfaceError"),
        # Several classes of the operating system's errors are just OSError.
        (OSError(errno.EHOSTUNREACH, "unreachable"), "EHOSTUNREACH"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "ECONNREFUSED"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_error_that_no_database_has_answered_has_no_code_of_one(
    error: BaseException, name: str
) -> None:
    assert (type_of(error), code_of(error)) == (name, None)
