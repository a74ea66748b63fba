"""A primary that becomes read-only or goes away, and the standby that takes over from it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

import asyncpg
import pytest

from db import migrations
from feed.reader import ALL_EVENTS
from graph.settings import Settings
from tests.conftest import opened, run_in
from tests.support.client import CREATE, Client, count, serving
from tests.support.postgres import Server, programs

COUNT = "{ users { totalCount } }"


@contextmanager
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary and its standby."""
    with programs() as installed:
        one, two = Server(installed, "one"), Server(installed, "two")
        one.init()
        one.start()
        try:
            asyncio.run(migrated(one.url))
            two.copy(one, standby=True)
            two.start()
            try:
                yield one, two
            finally:
                two.end()
        finally:
            one.end()


async def migrated(url: str) -> None:
    async with opened(url) as database:
        await migrations.upgrade(database)


async def has_caught_up(one: Server, two: Server) -> None:
    """Wait until the standby has all that the primary has written."""
    primary, standby = await asyncpg.connect(one.url), await asyncpg.connect(two.url)
    # Servers of tests acknowledge a commit before it is written. This one waits for all before it.
    await primary.execute("SET synchronous_commit = on")
    await primary.execute("SELECT pg_logical_emit_message(true, 'roster', '')")
    until = await primary.fetchval("SELECT pg_current_wal_flush_lsn()")
    while not await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", until):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    await primary.close()
    await standby.close()


class Writing:
    """Creates users one after another and records the outcomes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.created: list[str] = []
        self.outcomes: list[str] = []
        self.number = 0

    async def write(self) -> bool:
        self.number += 1
        name = f"user{self.number}"
        user = {"username": name, "email": f"{name}@example.com"}
        answer = await self.client.send(CREATE, input=user)
        if "data" in answer:
            self.created.append(name)
            return True
        [error] = answer["errors"]
        assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE", error
        self.outcomes.append(error["extensions"]["outcome"])
        return False

    async def write_until_success(self) -> None:
        """Write until it succeeds."""
        async with asyncio.timeout(60):
            while not await self.write():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["read-only", "stopped", "killed", "frozen"])
def test_writes_continue_on_the_promoted_standby(way: str) -> None:
    with pair() as (one, two):
        asyncio.run(switch_over(one, two, way))


async def lose(primary: Server, way: str) -> None:
    if way == "stopped":
        await asyncio.to_thread(primary.stop)
    else:
        primary.signal({"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}[way])


async def switch_over(one: Server, two: Server, way: str) -> None:
    both = f"postgresql://postgres@/postgres?host={one.home},{two.home}"
    async with serving(Settings(database_url=both, pool_size=5)) as client, follower(client) as ids:
        writing = Writing(client)
        for _ in range(3):
            assert await writing.write()
        await fill_pool(client)
        await has_caught_up(one, two)
        if way == "read-only":
            await run_in(one.url, "ALTER SYSTEM SET default_transaction_read_only = on")
            await run_in(one.url, "SELECT pg_reload_conf()")
            while await writing.write():
                pass  # until every process of the server has seen it
        else:
            await lose(one, way)
        for _ in range(2 if way == "frozen" else 5):
            assert not await writing.write()
        ready = await client.http.get("/health/ready")
        assert ready.status_code == 503
        assert "NOT_DONE" in writing.outcomes
        if way == "read-only":
            assert set(writing.outcomes) == {"NOT_DONE"}
            await has_caught_up(one, two)
        await asyncio.to_thread(two.promote)
        await writing.write_until_success()
        await fill_pool(client)
        await until_ready(client)
        for _ in range(20):
            assert await writing.write()
            assert await client.ask(COUNT) == {"totalCount": len(writing.created)}
        async with opened(two.url) as database:
            assert await count(database) == (len(writing.created), len(writing.created))
        async with asyncio.timeout(60):
            while len(ids) < len(writing.created):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert ids == sorted(set(ids))


async def until_ready(client: Client) -> None:
    """Waits until the health check, which has a time limit of its own, succeeds."""
    async with asyncio.timeout(60):
        while (await client.http.get("/health/ready")).status_code != HTTPStatus.OK:
            pass


async def fill_pool(client: Client) -> None:
    """Open all connections. A server that has just started can be too slow to accept them."""
    async with asyncio.timeout(60):
        while True:
            answers = await asyncio.gather(*(client.send(COUNT) for _ in range(20)))
            if all("errors" not in answer for answer in answers):
                return


@asynccontextmanager
async def follower(client: Client) -> AsyncIterator[list[int]]:
    """Yields a list that a background follower extends with the ids of all events."""
    ids: list[int] = []

    async def follow() -> None:
        async for events in client.app.state.feed.follow(0, ALL_EVENTS):
            ids.extend(event.id for event in events)

    following = asyncio.create_task(follow())
    try:
        yield ids
    finally:
        following.cancel()
        await asyncio.wait([following])
