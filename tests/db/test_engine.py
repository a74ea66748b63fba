import asyncio
import sqlite3
from typing import Any

import pytest
from asyncpg import (
    ConnectionDoesNotExistError,
    InvalidPasswordError,
    TooManyConnectionsError,
    UniqueViolationError,
)
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.errors import is_unique_violation, is_unreachable
from db.url import parse_url
from tests.conftest import opened


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sqlite:///./roster.db", "sqlite+aiosqlite:///./roster.db"),
        ("postgres://ada@host/roster", "postgresql+asyncpg://ada@host/roster"),
        ("postgresql://ada:pw@host:1/roster", "postgresql+asyncpg://ada:pw@host:1/roster"),
        ("postgresql+asyncpg://host/r", "postgresql+asyncpg://host/r"),
        ("postgresql://h/r?sslmode=require", "postgresql+asyncpg://h/r?ssl=require"),
        ("postgresql://h/r?user=ada&password=pw", "postgresql+asyncpg://ada:pw@h/r"),
        ("postgresql:///r?host=/run/pg", "postgresql+asyncpg:///r?host=%2Frun%2Fpg"),
        ("postgresql://a:x,y@h/r", "postgresql+asyncpg://a:x%2Cy@h/r"),
    ],
)
def test_parse_url_normalizes_common_spellings(written: str, read: str) -> None:
    assert parse_url(written).render_as_string(hide_password=False) == read


@pytest.mark.parametrize(
    ("written", "hosts", "ports"),
    [
        ("postgresql://u@a:1,b:2/r", ["a", "b"], [1, 2]),
        ("postgres://u:pw@a,b:2/r?sslmode=require", ["a", "b"], [5432, 2]),
        ("postgresql://u@[::1]:1,[fe80::1]/r", ["::1", "fe80::1"], [1, 5432]),
        ("postgresql://u@/r?host=a:1&host=b:2", ["a", "b"], [1, 2]),
        ("postgresql://u@/r?host=a,b&port=1,2", ["a", "b"], [1, 2]),
    ],
)
def test_url_with_several_hosts_prefers_the_writable_server(
    written: str, hosts: list[str], ports: list[int]
) -> None:
    for more, wanted in (("", "read-write"), ("target_session_attrs=any", "any")):
        url = f"{written}{'&' if '?' in written else '?'}{more}" if more else written
        dialect: Any = PGDialect_asyncpg
        options = dialect().create_connect_args(parse_url(url))[1]
        assert (options["host"], options["port"]) == (hosts, ports)
        assert options["target_session_attrs"] == wanted
        assert (options["user"], options["database"]) == ("u", "r")


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("nonsense", "the database URL cannot be read"),
        ("mysql://host/r", "mysql is not a database that Roster runs on"),
        ("sqlite://", "the SQLite URL names no file"),
        ("sqlite:///:memory:", "the SQLite URL names no file"),
        ("sqlite:///file::memory:?uri=true", "the SQLite URL names no file"),
        ("postgresql://h:99999/r", "the database URL has a port that is not from 1"),
        ("postgresql://a:x,b:1/r", "the database URL has a port that is not a number"),
        ("postgresql://h/r?foo=1", "has the parameter foo, which is not supported"),
    ],
)
def test_invalid_url_is_rejected_with_the_reason(written: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        parse_url(written)


def wrapped(cause: BaseException) -> DBAPIError:
    """Wrap a driver's error as SQLAlchemy's asyncpg dialect does."""
    translated = RuntimeError()
    translated.__cause__ = cause
    return DBAPIError("SELECT 1", {}, translated)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        PoolTimeoutError(),
        ConnectionDoesNotExistError(),
        TooManyConnectionsError(),
        wrapped(ConnectionDoesNotExistError()),
        wrapped(InvalidPasswordError()),
        DBAPIError("SELECT 1", {}, RuntimeError(), connection_invalidated=True),
    ],
)
def test_connection_errors_count_as_unreachable(error: Exception) -> None:
    assert is_unreachable(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError(),
        wrapped(UniqueViolationError()),
        ZeroDivisionError(),
        DBAPIError("x", {}, RuntimeError()),
    ],
)
def test_other_errors_do_not_count_as_unreachable(error: Exception | None) -> None:
    assert not is_unreachable(error)


async def test_only_unique_constraint_counts_as_unique_violation(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE t (a INT UNIQUE, b INT CHECK (b > 0))"))
        await connection.execute(text("INSERT INTO t VALUES (1, 1)"))
    verdicts = []
    for values in ("(1, 1)", "(2, 0)"):
        with pytest.raises(IntegrityError) as caught:
            async with database.engine.begin() as connection:
                await connection.execute(text(f"INSERT INTO t VALUES {values}"))  # noqa: S608
        verdicts.append(is_unique_violation(caught.value))
    assert verdicts == [True, False]


async def test_sqlite_connection_uses_wal_foreign_keys_and_busy_timeout(tmp_path: object) -> None:
    async with (
        opened(f"sqlite:///{tmp_path}/a.db") as database,
        database.engine.connect() as connection,
    ):
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        ]
    assert found == ["wal", 1, 30_000]
    assert sqlite3.sqlite_version_info >= (3, 35)  # RETURNING


async def test_read_session_opens_no_transaction(database: Database) -> None:
    """The second read sees what another connection committed after the first."""
    async with database.session() as reader, database.session() as writer:
        count = text("SELECT count(*) FROM t")
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE t (a INT)"))
        assert (await reader.execute(count)).scalar_one() == 0
        async with writer.transaction() as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))
        assert (await reader.execute(count)).scalar_one() == 1


async def test_transaction_that_raises_is_rolled_back(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE t (a INT)"))

    async def write_and_fail() -> None:
        async with database.session() as session, session.transaction():
            await session.execute(text("INSERT INTO t VALUES (1)"))
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await write_and_fail()
    async with database.engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0


async def test_statement_is_interrupted_when_its_caller_times_out(database: Database) -> None:
    endless = text(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) "
        "SELECT count(*) FROM numbers"
    )

    async def run_endless_statement() -> None:
        async with asyncio.timeout(0.1), database.session() as session:
            await session.execute(endless)

    with pytest.raises(TimeoutError):
        await run_endless_statement()
    async with asyncio.timeout(60), database.session() as session:
        assert (await session.execute(text("SELECT 1"))).scalar() == 1
    async with asyncio.timeout(60):
        await database.close()  # waits for running statements
