"""Notifications between processes after a network silently dropped their connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from db.engine import Database
from db.timing import Timing
from feed.feed import Feed
from tests.conftest import opened
from tests.support.feed import Follower, creation, running_feed, wait_until, write
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


SHORT = Timing(heartbeat=0.1, answer=1.0, connect=2.0, skip_silent_host=0.0, ping=1.0)


@asynccontextmanager
async def far_and_near(
    database_url: str, timing: Timing = SHORT
) -> AsyncIterator[tuple[Proxy, Database, Feed, Database, Feed]]:
    """Two processes; the second one reaches the database through a proxy.

    Without a poll, events arrive only by notification.
    """
    options = {"poll": 3600.0, "retry": 0.05, "read": 0.5}
    async with (
        opened(database_url) as far,
        running_feed(far, **options) as far_feed,
        proxied(database_url) as (proxy, near_url),
        opened(near_url, timing=timing) as near,
        running_feed(near, **options) as near_feed,
    ):
        yield proxy, far, far_feed, near, near_feed


async def write_and_await(
    database: Database, feed: Feed, follower: Follower, *numbers: int
) -> None:
    """Writes events, each one after the follower received the previous one."""
    for number in numbers:
        await write(database, creation(f"user{number}"))
        feed.wake()
        await follower.until(number)


@pytest.mark.parametrize("kind", ["silence", "pause"])
async def test_process_receives_notifications_again_after_silence(
    database_url: str, kind: str
) -> None:
    async with far_and_near(database_url) as (proxy, far, far_feed, _, near_feed):
        follower = Follower(near_feed, 0)
        await write_and_await(far, far_feed, follower, 1, 2)
        connected = proxy.accepted
        getattr(proxy, kind)()
        await write(far, creation("user3"))
        far_feed.wake()
        await wait_until(lambda: proxy.accepted >= connected + 2)  # it has retried
        assert 3 not in follower.ids
        proxy.restore()
        await follower.until(3)
        await write_and_await(far, far_feed, follower, 4, 5, 6)
        assert follower.ids == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["silence", "pause"])
async def test_process_sends_notifications_again_after_silence(
    database_url: str, kind: str
) -> None:
    """Including an event that it committed during the silence."""
    async with far_and_near(database_url) as (proxy, far, far_feed, near, near_feed):
        follower = Follower(far_feed, 0)
        await write_and_await(near, near_feed, follower, 1, 2)
        getattr(proxy, kind)()
        await write(far, creation("user3"))
        near_feed.wake()  # as if the answer to COMMIT was the last packet that arrived
        await asyncio.sleep(0)
        connected = proxy.accepted
        await wait_until(lambda: proxy.accepted >= connected + 2)
        assert 3 not in follower.ids
        proxy.restore()
        await follower.until(3)
        await write_and_await(near, near_feed, follower, 4, 5, 6)
        assert follower.ids == [1, 2, 3, 4, 5, 6]


async def test_page_read_without_an_answer_is_retried(database_url: str) -> None:
    """The feed's connection was used recently, so it is not pinged first."""
    timing = replace(SHORT, trust_used=3600.0)
    async with far_and_near(database_url, timing) as (proxy, far, far_feed, _, near_feed):
        follower = Follower(near_feed, 0)
        await write_and_await(far, far_feed, follower, 1)
        proxy.silence()
        proxy.restore()
        await write(far, creation("user2"))
        near_feed.wake()
        await follower.until(2)


async def test_feed_closes_during_silence(database_url: str) -> None:
    async with far_and_near(database_url) as (proxy, far, far_feed, _, near_feed):
        follower = Follower(near_feed, 0)
        await write_and_await(far, far_feed, follower, 1)
        proxy.silence()
        near_feed.wake()
        async with asyncio.timeout(60):
            await near_feed.close()
