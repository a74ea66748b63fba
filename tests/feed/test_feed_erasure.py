"""Erased values appear in no replay and are removed from the memory of every process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from db.engine import Database
from feed.feed import Feed
from feed.reader import ALL_EVENTS
from tests.conftest import opened
from tests.support.feed import Writer, creation, overlapping, running_feed, wait_until, write
from users.commands import Erase, Transition, Update
from users.lifecycle import UserAction

ADA = 1
NAMES = ("ada", "Ada Lovelace", "left us")


async def create_rename_and_delete(database: Database) -> None:
    """Create Ada (event 1), rename her (2) and delete her with a reason (3)."""
    named = Update(user_id=ADA, fields={"display_name": "Ada Lovelace"})
    deleted = Transition(action=UserAction.DELETE, user_id=ADA, reason="left us")
    await write(database, creation("ada"))
    await write(database, named)
    await write(database, deleted)


async def erase(database: Database) -> None:
    await write(database, Erase(user_id=ADA, confirm_username=None, reason="asked"))


def disclosed(rows: Sequence[Any]) -> list[str]:
    """Returns which of Ada's values occur in these events."""
    return [name for name in NAMES if any(name in str(tuple(row)) for row in rows)]


async def first_rows(feed: Feed, after: int, last: int) -> list[Any]:
    """Follows from a position up to an event and returns all rows."""
    rows: list[Any] = []
    async with aclosing(feed.follow(after, ALL_EVENTS)) as batches:
        async for batch in batches:
            rows += batch
            if rows[-1].id >= last:
                return rows
    return rows


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The same database as another server process sees it."""
    async with opened(database_url) as database:
        yield database


async def test_replay_after_an_erasure_elsewhere_contains_no_erased_value(
    database: Database, other: Database
) -> None:
    async with running_feed(database, poll=3600.0) as feed:
        live: list[Any] = []
        following = asyncio.create_task(_collect(feed, live))
        await wait_until(lambda: feed._subscribers > 0)  # noqa: SLF001 - the subscription is active
        await feed.poll()
        await create_rename_and_delete(database)
        feed.wake()
        await wait_until(lambda: len(live) == 3)
        assert disclosed(live) == list(
            NAMES
        )  # before the erasure they are in this process's memory
        await erase(other)
        replayed = await first_rows(feed, 0, 3)
        assert [row.id for row in replayed][:3] == [1, 2, 3]
        assert disclosed(replayed) == []
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _collect(feed: Feed, collected: list[Any]) -> None:
    async for rows in feed.follow(0, ALL_EVENTS):
        collected += rows


async def test_erasure_drops_the_buffers_of_every_process(
    database: Database, other: Database
) -> None:
    async with running_feed(database) as feed, running_feed(other) as elsewhere:
        live: dict[Feed, list[Any]] = {feed: [], elsewhere: []}
        tasks = [asyncio.create_task(_collect(one, rows)) for one, rows in live.items()]
        await wait_until(lambda: all(one._tasks for one in live))  # noqa: SLF001 - the subscriptions are active
        await create_rename_and_delete(database)
        feed.wake()
        await wait_until(lambda: all(len(rows) == 3 for rows in live.values()))
        for one in live:
            one.derived["made of these events"] = NAMES
        await erase(database)
        feed.wake()
        await wait_until(lambda: all(len(rows) == 4 for rows in live.values()))
        for one in live:
            buffered = list(one._buffer._events)  # noqa: SLF001 - what is tested
            assert [row.id for row in buffered] == [4]
            assert disclosed(buffered) == []
            assert one.derived == {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_subscriber_behind_an_erasure_reads_the_rest_from_the_table(
    database: Database,
) -> None:
    async with running_feed(database) as feed, feed.subscribe(None, ALL_EVENTS) as position:
        await create_rename_and_delete(database)
        await feed.poll()
        read = await position.read()
        assert disclosed(read) == list(NAMES)
        before = position.is_stale
        await erase(database)
        await feed.poll()
        assert (before, position.is_stale) == (False, True)
        position.rewind(1)  # the first was sent before
        again = await position.read()
        assert ([row.id for row in again], disclosed(again)) == ([2, 3, 4], [])
        assert position.is_replaying
        assert not position.is_stale


async def test_buffer_is_empty_without_subscribers(database: Database) -> None:
    async with running_feed(database) as feed:
        async with feed.subscribe(None, ALL_EVENTS) as position:
            await create_rename_and_delete(database)
            await feed.poll()
            assert len(await position.read()) == 3
        assert list(feed._buffer._events) == []  # noqa: SLF001 - what is tested


@overlapping
@pytest.mark.parametrize("page", [500, 2])
async def test_erasure_above_an_open_transaction_drops_the_buffers(
    database_url: str, page: int
) -> None:
    async with (
        opened(database_url) as database,
        running_feed(database, page_size=page) as feed,
        feed.subscribe(None, ALL_EVENTS) as position,
    ):
        await create_rename_and_delete(database)
        await feed.poll()
        held = Writer(database, "held")
        await held.begin(1)
        for n in range(3):
            await write(database, creation(f"user{n}"))
        assert await feed.poll() == 3
        before = position.is_stale
        await position.read()
        await erase(database)
        assert await feed.poll() == 3  # the open transaction still holds it up
        assert (before, position.is_stale) == (False, True)
        assert list(feed._buffer._events) == []  # noqa: SLF001 - what is tested
        await held.end(commit=True)
