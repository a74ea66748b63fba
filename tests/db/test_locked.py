"""A SQLite file that another program has locked exclusively, or writes to."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import make_url

from db.engine import Database
from db.errors import is_unreachable
from db.timing import Timing
from tests.conftest import opened, select_one

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def other(database_url: str) -> Iterator[sqlite3.Connection]:
    path = make_url(database_url).database or ""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def lock_exclusively(other: sqlite3.Connection) -> None:
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")


async def test_locked_file_counts_as_unreachable_database(
    database_url: str, other: sqlite3.Connection
) -> None:
    lock_exclusively(other)
    async with opened(database_url, timing=Timing(sqlite_open=0.01)) as database:
        for way in (select_one, Database.ping):
            with pytest.raises(Exception, match="locked") as caught:
                await way(database)
            assert is_unreachable(caught.value)
        other.close()
        await select_one(database)


async def test_health_check_succeeds_while_another_program_writes(
    database_url: str, other: sqlite3.Connection
) -> None:
    async with opened(database_url) as database:
        await database.ping()
        other.execute("BEGIN IMMEDIATE")
        await database.ping()
        await select_one(database)
        other.execute("ROLLBACK")
