"""Labels have few values, and none is personal data."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.prepared import PreparedStatement
from graph.metrics.labels import OTHER, Bounded, error_of, holder_of, method_of, scheme_of
from tests.db.test_observation import WRONG


def test_only_the_first_values_are_kept() -> None:
    bounded = Bounded(2)
    assert [bounded.of(value) for value in "abcab"] == ["a", "b", OTHER, "a", "b"]


@pytest.mark.parametrize(
    ("scope", "labels"),
    [
        ({"method": "GET", "scheme": "https"}, ("GET", "https")),
        ({"method": "POST"}, ("POST", "http")),
        ({"method": "get", "scheme": "gopher"}, (OTHER, OTHER)),
    ],
)
def test_methods_and_schemes_are_those_that_are_known(
    scope: dict[str, Any], labels: tuple[str, str]
) -> None:
    assert (method_of(scope), scheme_of(scope)) == labels


@pytest.mark.parametrize(
    ("pid", "name", "state", "labels"),
    [
        (1, "roster", "active", ("roster", "active")),
        (1, "PSQL", "idle in transaction", ("psql", "idle in transaction")),
        (1, "pgAdmin 4 - DB:roster", "idle", ("pgAdmin", "idle")),
        (1, "of mia@example.com", "unknown", (OTHER, OTHER)),
        (1, None, None, (OTHER, OTHER)),
        (None, None, None, ("prepared transaction", "")),
    ],
)
def test_holder_of_the_feed_is_a_known_program(
    pid: int | None, name: str | None, state: str | None, labels: tuple[str, str]
) -> None:
    assert holder_of({"pid": pid, "application_name": name, "state": state}) == labels


async def test_error_of_a_statement_is_its_code(database: Database) -> None:
    found = []
    async with database.session() as session:
        for read in (session.fetch, read_normally(session)):
            with pytest.raises(Exception, match="nowhere") as error:
                await read(WRONG)
            found.append(error_of(error.value))
    assert found == ["SQLITE_ERROR" if database.is_sqlite else "42P01"] * 2


def read_normally(session: Any) -> Any:
    async def read(statement: PreparedStatement) -> None:
        await session.execute(statement.statement)

    return read


def test_error_without_a_code_is_its_class() -> None:
    assert error_of(PoolTimeoutError()) == "TimeoutError"
    assert error_of(sqlite3.InterfaceError()) == "InterfaceError"
