"""A server or file that became read-only is abandoned at the first rejected write."""

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.errors import is_read_only, is_unreachable
from db.timing import Timing
from tests.conftest import opened
from tests.db.test_driver import add
from tests.db.test_pool import pids
from tests.support.client import count
from tests.support.loop_time import pass_time

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"])
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])
READ_ONLY = text("SET default_transaction_read_only = on")


async def write(database: Database) -> None:
    async with database.session() as session, session.transaction():
        await session.execute(text("DELETE FROM users"))


async def become_read_only(database: Database) -> set[int]:
    """Makes all current connections read-only, as after a switchover; new ones accept writes."""
    connections = [await database.engine.connect() for _ in range(3)]
    for connection in connections:
        await connection.execute(READ_ONLY)
        await connection.commit()
        await connection.close()
    return pids(database)


async def use_all(database: Database) -> None:
    """Opens the maximum number of connections."""
    connections = [await database.engine.connect() for _ in range(3)]
    for connection in connections:
        await connection.close()


@on_postgres
@pytest.mark.parametrize("way", [write, add])
async def test_write_rejected_by_a_read_only_server_replaces_all_connections(
    database_url: str, way: Any
) -> None:
    async with opened(database_url, pool_size=3) as database:
        old = await become_read_only(database)
        assert len(old) == 3
        with pytest.raises(DBAPIError) as caught:
            await way(database)
        assert is_read_only(caught.value)
        assert is_unreachable(caught.value)
        await way(database)
        await use_all(database)
        assert not pids(database) & old


@on_postgres
async def test_repeated_rejections_discard_connections_at_a_limited_rate(
    database_url: str,
) -> None:
    """While a server is read-only, reads continue on the existing connections.

    None of these remains after another server accepts writes.
    """
    clock = 0.0
    timing = Timing(discard_interval=60.0, clock=lambda: clock)
    async with opened(database_url, pool_size=3, timing=timing) as database:
        fair_pool: Any = database.engine.sync_engine.pool
        discarded: list[float] = []
        fair_pool.on_discard = lambda: discarded.append(clock)
        old: set[int] = set()
        for clock in (1000.0, 1001.0, 1002.0, 1059.0):  # noqa: B007 - the pool reads it
            old |= await become_read_only(database)
            with pytest.raises(DBAPIError):
                await write(database)
        assert discarded == [1000.0]
        clock = 1060.0
        pass_time(60)
        await asyncio.sleep(0)
        await use_all(database)
        assert not pids(database) & old
        assert discarded == [1000.0, 1060.0]


@on_postgres
async def test_rejected_write_also_replaces_listen_and_notify_connections(
    database_url: str,
) -> None:
    async with opened(database_url, pool_size=3) as database:
        await database.notify("here")
        beside: Any = database._beside  # noqa: SLF001 - there is no public attribute
        kept = beside._driver.get_server_pid()  # noqa: SLF001
        async with database.listening(lambda _: None) as lost:
            await become_read_only(database)
            assert not lost.is_set()
            with pytest.raises(DBAPIError):
                await write(database)
            assert lost.is_set()
        await database.notify("here")
        assert beside._driver.get_server_pid() != kept  # noqa: SLF001


def path_of(database_url: str) -> Path:
    return Path(make_url(database_url).database or "")


@on_sqlite
@pytest.mark.parametrize("way", [write, add])
async def test_write_to_a_deleted_sqlite_file_fails_as_unreachable(
    database_url: str, way: Any
) -> None:
    """SQLite itself reports success, and the data is lost with the file."""
    async with opened(database_url, pool_size=3) as database:
        assert await add(database) == 1
        path = path_of(database_url)
        kept = path.read_bytes()
        for file in path.parent.glob(f"{path.name}*"):
            file.rename(f"{file}.moved")
        for _ in range(2):
            for ask in (way, Database.ping, count):
                with pytest.raises((DBAPIError, sqlite3.Error)) as caught:
                    await ask(database)
                assert is_unreachable(caught.value)
        assert not path.exists()  # it would be empty
        path.write_bytes(kept)
        await database.ping()
        await add(database, username_key="bob", email_key="bob")
        assert (await count(database))[0] >= 1


@on_sqlite
async def test_replaced_sqlite_file_is_reopened(database_url: str, tmp_path: Path) -> None:
    path = path_of(database_url)
    other = tmp_path / "restored.db"
    other.write_bytes(path.read_bytes())
    async with opened(database_url, pool_size=3) as database:
        assert await add(database) == 1
        assert await count(database) == (1, 1)
        for file in path.parent.glob(f"{path.name}-*"):
            file.unlink()
        os.replace(other, path)  # noqa: PTH105 - as a restore does
        assert await add(database, username_key="bob", email_key="bob") == 1
        assert await count(database) == (1, 1)


@on_sqlite
async def test_sqlite_file_opened_read_only_is_reopened_once_writable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only = True
    connect: Any = sqlite3.connect

    def open_(path: str, **options: Any) -> Any:
        if read_only:
            return connect(f"file:{path}?mode=ro", uri=True, **options)
        return connect(path, **options)

    monkeypatch.setattr(sqlite3, "connect", open_)
    async with opened(database_url, pool_size=1) as database:
        assert await count(database) == (0, 0)
        for way in (write, add, Database.ping):
            with pytest.raises((DBAPIError, sqlite3.Error)) as caught:
                await way(database)
            assert is_unreachable(caught.value)
            assert is_read_only(caught.value)
        read_only = False
        await write(database)
        assert await add(database) == 1
        await database.ping()


@on_sqlite
async def test_readiness_does_not_wait_for_a_writer(database_url: str) -> None:
    patient = Timing(sqlite_busy=3600)
    async with opened(database_url, timing=patient) as database, opened(database_url) as other:
        await database.ping()
        async with other.session() as session, session.transaction(), asyncio.timeout(60):
            await database.ping()
        await write(database)
