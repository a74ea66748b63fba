"""Connections that any pooler can carry. tests/stage/test_poolers.py uses a real one."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import make_url

from db.engine import Database
from db.poolers import Pooler
from db.pooling import Pooling, check, plain, recognise
from graph.settings import Settings
from tests.conftest import administer, opened, select_one
from tests.support.client import Client, serving
from tests.support.proxy import proxied

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
SETTINGS = ("jit", "TimeZone", "idle_in_transaction_session_timeout", "tcp_keepalives_idle")
CREATED_AT = "{ users { nodes { createdAt updatedAt } } userEvents { nodes { at } } }"


async def in_transaction_mode(url: str) -> Settings:
    return Settings(database_url=url, database_direct_url=url, database_pooler="transaction")


async def use(client: Client) -> None:
    user = await client.create("ada")
    for verb in ("deactivateUser", "deleteUser", "restoreUser"):
        await client.mutate(verb, user["id"])
    await client.mutate("updateUser", user["id"], displayName="Ada")
    assert len(await client.events(user["id"])) == 5


async def left_in_sessions(database: Database) -> tuple[int, set[tuple[str, ...]]]:
    """Returns the number of named statements in a session of the pool, and its settings."""
    chosen = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        number = await driver.fetchval("SELECT count(*) FROM pg_prepared_statements")
        return number, {tuple(await driver.fetchrow(f"SELECT {chosen}"))}


async def test_transaction_mode_leaves_nothing_in_sessions(database_url: str) -> None:
    async with serving(await in_transaction_mode(database_url)) as client:
        await use(client)
        number, settings = await left_in_sessions(client.database)
    async with opened(database_url, pooler=Pooler.TRANSACTION) as fresh:
        assert (number, settings) == await left_in_sessions(fresh)
        assert number == 0
    async with serving(Settings(database_url=database_url)) as client:
        await client.ask(CREATED_AT)
        number, usual = await left_in_sessions(client.database)
        assert number > 0
        assert usual != settings


async def test_times_do_not_depend_on_the_time_zone_of_the_session(database_url: str) -> None:
    name = make_url(database_url).database
    async with serving(Settings(database_url=database_url)) as client:
        await use(client)
        before = await client.ask(CREATED_AT)
    await asyncio.to_thread(administer, f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'")
    async with serving(await in_transaction_mode(database_url)) as client:
        assert await client.ask(CREATED_AT) == before


async def test_listen_uses_the_direct_url_and_notify_the_usual_one(database_url: str) -> None:
    heard = asyncio.Event()
    async with (
        proxied(database_url) as (direct, direct_url),
        proxied(database_url) as (usual, usual_url),
        opened(usual_url, direct_url=direct_url, pooler=Pooler.TRANSACTION) as database,
    ):
        async with database.listening(lambda _: heard.set()):
            assert (usual.accepted, direct.accepted) == (0, 1)
            await database.notify("other")
            async with asyncio.timeout(60):
                await heard.wait()
        await select_one(database)
        await database.ping()
        assert (usual.accepted, direct.accepted) == (3, 1)


async def test_direct_connection_is_recognised(database: Database, database_url: str) -> None:
    assert await recognise(plain(database.url)) is Pooling.DIRECT
    await check(database)
    async with opened(database_url, direct_url=database_url, pooler=Pooler.TRANSACTION) as pooled:
        await check(pooled)
