"""The health check has a connection of its own, and an answer within its limit."""

import asyncio
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import make_url, text

from db.engine import Database
from db.errors import is_read_only, is_unreachable
from db.timing import Timing
from graph.settings import Settings
from tests.conftest import administer, opened, select_one
from tests.support.client import serving

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"])
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])
IMMEDIATE = Timing(health_check=0.2)
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as in shutil


def checked_out(database: Database) -> int:
    number: int = database.engine.sync_engine.pool.checkedout()  # type: ignore[attr-defined]
    return number


async def test_health_check_neither_waits_for_the_pool_nor_uses_it(database_url: str) -> None:
    async with opened(database_url, pool_size=1, pool_timeout=600) as database:
        await database.ping()
        assert checked_out(database) == 0
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await database.ping()
        await select_one(database)


async def test_readiness_of_a_server_whose_connections_are_all_in_use(database_url: str) -> None:
    settings = Settings(database_url=database_url, pool_size=1)
    async with serving(settings) as client, client.database.engine.connect():
        for _ in range(3):
            ready = await client.http.get("/health/ready")
            assert (ready.status_code, ready.json()) == (200, {"status": "ok", "database": "ok"})


async def test_requests_use_the_pool_while_a_health_check_is_stuck(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()
    async with opened(database_url, pool_size=1, timing=IMMEDIATE) as database:
        health: Any = database._health  # noqa: SLF001 - there is no public attribute

        async def wait() -> None:
            await released.wait()

        monkeypatch.setattr(health, "_probe", Stuck(health._probe, wait))  # noqa: SLF001
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await database.ping()
            await select_one(database)
        released.set()
        await database.ping()


class Stuck:
    def __init__(self, probe: Any, wait: Any) -> None:
        self._probe, self._wait = probe, wait
        self.discard, self.close = probe.discard, probe.close

    async def __call__(self) -> None:
        await self._wait()
        await self._probe()


@on_postgres
async def test_health_check_fails_in_time_while_a_name_is_being_resolved(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def hang(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    url = make_url(database_url).set(host="db.internal", query={})
    async with opened(url.render_as_string(), timing=IMMEDIATE) as database:
        for _ in range(3):
            with pytest.raises(TimeoutError) as caught:
                await database.ping()
            assert is_unreachable(caught.value)
    assert asked >= 1


@on_postgres
async def test_read_only_connection_of_the_health_check_replaces_those_of_requests(
    database_url: str,
) -> None:
    """As after a switchover, if new connections lead to a server that accepts writes."""
    discarded = 0
    async with opened(database_url, pool_size=1) as database:
        await database.ping()
        pool: Any = database.engine.sync_engine.pool
        on_discard = pool.on_discard

        def note() -> None:
            nonlocal discarded
            discarded += 1
            on_discard()

        pool.on_discard = note
        own: Any = database._health._probe._own  # type: ignore[attr-defined]  # noqa: SLF001
        await own._driver.execute("SET default_transaction_read_only = on")  # noqa: SLF001
        before = own._driver.get_server_pid()  # noqa: SLF001
        await database.ping()
        assert own._driver.get_server_pid() != before  # noqa: SLF001
        assert discarded == 1


@on_postgres
async def test_readiness_of_a_read_only_server(database_url: str) -> None:
    name = make_url(database_url).database
    await asyncio.to_thread(
        administer, f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    )
    async with serving(Settings(database_url=database_url)) as client:
        for _ in range(2):
            ready = await client.http.get("/health/ready")
            assert (ready.status_code, ready.json()) == (
                503,
                {"status": "unavailable", "database": "read-only"},
            )


@on_sqlite
async def test_full_disk_is_reported_as_read_only(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - free, free))
    async with serving(Settings(database_url=database_url)) as client:
        ready = await client.http.get("/health/ready")
        assert (ready.status_code, ready.json()) == (
            503,
            {"status": "unavailable", "database": "read-only"},
        )
        free = 2 * 1024 * 1024
        assert (await client.http.get("/health/ready")).status_code == 200


@on_sqlite
async def test_file_that_is_used_exclusively_is_unreachable(database_url: str) -> None:
    path = make_url(database_url).database or ""
    async with opened(database_url, timing=IMMEDIATE) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(3):
                with pytest.raises((sqlite3.OperationalError, TimeoutError)) as caught:
                    await database.ping()
                assert is_unreachable(caught.value)
                assert not is_read_only(caught.value)
        assert checked_out(database) == 0
        await database.ping()


@on_sqlite
async def test_health_check_writes_nothing(database_url: str) -> None:
    path = make_url(database_url).database or ""
    async with opened(database_url) as database:
        async with database.engine.connect() as connection:
            version = await connection.execute(text("PRAGMA data_version"))
            before = version.scalar_one()
            for _ in range(3):
                await database.ping()
            version = await connection.execute(text("PRAGMA data_version"))
            assert version.scalar_one() == before
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (0,)
