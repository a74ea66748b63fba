"""The feed of one process delivers each event exactly once, despite concurrent writers."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any

import pytest
from sqlalchemy import select, text

from db.engine import Database
from db.filters import EventFilter
from db.models import UserEvent, UserEventType
from feed.feed import Feed
from feed.reader import ALL_EVENTS
from feed.watermark import WatermarkTracker
from tests.conftest import opened
from tests.support.feed import (
    ANA,
    Follower,
    Writer,
    committed_ids,
    creation,
    overlapping,
    pages_read,
    running_feed,
    wait_until,
    wait_until_started,
    write,
)
from users.commands import Transition, Update
from users.lifecycle import UserAction
from users.service import UserService


async def test_replay_continues_live_without_a_gap(
    database: Database,
) -> None:
    await write(database, *(creation(f"user{n}") for n in range(10)))
    async with running_feed(database, page_size=3) as feed:
        followers = {after: Follower(feed, after) for after in (0, 4, 10, 12)}
        for n in range(10, 20):
            await write(database, creation(f"user{n}"))
            feed.wake()
        for after, follower in followers.items():
            assert await follower.until(20) == list(range(after + 1, 21))


async def test_subscriber_without_a_cursor_gets_no_earlier_events(database: Database) -> None:
    await write(database, creation("ada"))
    async with running_feed(database) as feed:
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        assert 1 not in follower.ids


async def test_subscriber_behind_the_buffer_reads_the_table(
    database: Database,
) -> None:
    await write(database, creation("ada"))
    async with running_feed(database, buffer_size=5, page_size=4) as feed:
        slow = feed.follow(0, ALL_EVENTS)
        ids = [row.id for row in await anext(slow)]
        quick = Follower(feed, 0)
        for n in range(30):
            await write(database, creation(f"user{n}"))
            feed.wake()
            if n % 7 == 0:
                await quick.until(n + 2)
                if ids[-1] < n + 2:
                    ids += [row.id for row in await anext(slow)]
        await quick.until(31)
        while ids[-1] < 31:
            ids += [row.id for row in await anext(slow)]
        await slow.aclose()
        assert ids == quick.ids == list(range(1, 32))


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"user_ids": (2, 3)},
        {"user_ids": ()},
        {"types": (UserEventType.UPDATED,)},
        {"types": (UserEventType.CREATED, UserEventType.DELETED), "user_ids": (1,)},
        {"actor_ids": ("bob",)},
        {"at": [(ge, "third")]},
        {"at": [(gt, "third"), (le, "sixth")]},
        {"at": [(lt, "third")], "actor_ids": ("ana",)},
    ],
)
async def test_filter_matches_the_same_events_in_table_and_buffer(
    database: Database, wanted: dict[str, Any]
) -> None:
    start = datetime(2026, 1, 31, tzinfo=UTC)
    moments = {"third": start + timedelta(hours=2), "sixth": start + timedelta(hours=5)}
    time_ranges = {"at": tuple((holds, moments[name]) for holds, name in wanted.get("at", []))}
    event_filter = EventFilter(**wanted | time_ranges)

    async def execute_hourly(hours: int, *operations: Any) -> None:
        for number, operation in enumerate(operations):
            at = start + timedelta(hours=hours + number)
            async with database.session() as session, session.transaction():
                caller = ANA if number % 2 else replace(ANA, actor=replace(ANA.actor, id="bob"))
                service = UserService(session, caller, clock=lambda at=at: at)  # type: ignore[misc]
                await service.execute([operation])

    life = (
        creation("ada"),
        creation("bob"),
        creation("cleo"),
        Update(user_id=1, fields={"display_name": "A"}),
        Update(user_id=2, fields={"display_name": "B"}),
        Transition(action=UserAction.DELETE, user_id=1),
        Transition(action=UserAction.DELETE, user_id=3),
    )
    async with running_feed(database) as feed:
        live = Follower(feed, 0, event_filter)
        await execute_hourly(0, *life)
        feed.wake()
        await Follower(feed, 0).until(7)
        async with database.session() as session:
            statement = select(UserEvent.id).where(event_filter.where(), *event_filter.when())
            expected = list(await session.scalars(statement.order_by(UserEvent.id)))
        later = Follower(feed, 0, event_filter)
        for follower in (live, later):
            if expected:
                await follower.until(expected[-1])
            assert await follower.stop() == expected


async def test_event_is_read_once_for_all_subscribers(database: Database) -> None:
    read = pages_read(database)

    # SQLite polls more often than the reads that are counted.
    async with running_feed(database, poll=3600.0) as feed:
        followers = [Follower(feed) for _ in range(200)]
        await wait_until_started(feed, database, *followers)
        feed.wake()
        await wait_until_started(feed, database, *followers)
        pool: Any = database.engine.pool
        await wait_until(lambda: pool.checkedout() == 0)  # the shared read has ended
        read.clear()
        await write(database, creation("ada"))
        feed.wake()
        last = (await committed_ids(database))[-1]
        for follower in followers:
            await follower.until(last)
        assert 1 <= len(read) <= 3  # one for the wake-up, and perhaps for a concurrent poll


async def test_nothing_is_read_without_subscribers(database: Database) -> None:
    async with running_feed(database) as feed:
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        await follower.stop()
        assert feed._tasks == []  # noqa: SLF001 - what is tested
        again = Follower(feed)
        await wait_until_started(feed, database, again)


@overlapping
@pytest.mark.parametrize("seed", range(5))
async def test_no_event_is_lost_if_transactions_end_in_any_order(
    database_url: str, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same order on every run
    async with opened(database_url, pool_size=20) as database, running_feed(database) as feed:
        followers = [Follower(feed, 0) for _ in range(3)]
        running: list[Writer] = []
        begun = 0
        while begun < 60 or running:
            if begun < 60 and len(running) < 8 and rng.random() < 0.6:
                writer = Writer(database, f"w{seed}n{begun}")
                await writer.begin(rng.randint(1, 3))
                running.append(writer)
                begun += 1
            elif running:
                await running.pop(rng.randrange(len(running))).end(commit=rng.random() < 0.7)
                feed.wake()
            if rng.random() < 0.1:  # a subscriber reconnects with its last cursor
                before = followers.pop(0)
                ids = list(await before.stop())
                again = Follower(feed, ids[-1] if ids else 0)
                again.ids[:] = ids
                followers.append(again)
        expected = await committed_ids(database)
        assert expected != list(range(1, len(expected) + 1))  # some were rolled back
        for follower in followers:
            assert await follower.until(expected[-1]) == expected


@overlapping
async def test_open_transaction_delays_the_feed_without_a_loss(database_url: str) -> None:
    async with opened(database_url) as database, running_feed(database) as feed:
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        held = Writer(database, "held")
        await held.begin(2)
        for n in range(5):
            await write(database, creation(f"user{n}"))
            feed.wake()
        late = Follower(feed)  # starts now, without the five existing events
        listed = await feed.watermark()
        assert listed == follower.ids[-1]
        other = Feed(database)  # a process that starts now
        try:
            assert await other.poll() == listed
            await held.end(commit=True)
            feed.wake()
            expected = [i for i in await committed_ids(database) if i >= follower.ids[0]]
            assert await follower.until(expected[-1]) == expected
            assert await feed.watermark() == await other.poll() == expected[-1]
            await write(database, creation("last"))
            feed.wake()
            expected = await committed_ids(database)
            held_back = [listed + 1, listed + 2]
            last = expected[-1]
            # Only the last event if it started after the transaction ended.
            assert await late.until(last) in ([*held_back, last], [last])
        finally:
            await other.close()


@overlapping
async def test_rolled_back_transaction_does_not_block_the_feed(database_url: str) -> None:
    async with opened(database_url) as database, running_feed(database) as feed:
        follower = Follower(feed, 0)
        held = Writer(database, "held")
        await held.begin(3)
        await write(database, creation("ada"))
        feed.wake()
        assert await feed.poll() == 0
        other = Writer(database, "other")  # begins after the gap was seen
        await other.begin(1)
        await held.end(commit=False)
        assert await follower.until(4) == [4]
        await other.end(commit=True)
        assert await follower.until(5) == [4, 5]


@overlapping
async def test_feed_continues_after_all_connections_were_cut(database_url: str) -> None:
    async with (
        opened(database_url) as database,
        opened(database_url) as administrator,
        running_feed(database) as feed,
    ):
        follower = Follower(feed, 0)
        await write(database, creation("ada"))
        feed.wake()
        await follower.until(1)
        async with administrator.engine.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        await write(administrator, creation("bob"))
        await administrator.notify()
        assert await follower.until(2) == [1, 2]


@overlapping
async def test_notification_of_another_process_wakes_the_feed(database_url: str) -> None:
    async with (
        opened(database_url) as here,
        opened(database_url) as there,
        running_feed(here, poll=3600.0) as feed,
        running_feed(there, poll=3600.0) as other,
    ):
        follower = Follower(feed, 0)
        await write(here, creation("ada"))
        feed.wake()
        await follower.until(1)
        for n in range(20):
            await write(there, creation(f"user{n}"))
            other.wake()
            await follower.until(n + 2)
        assert follower.ids == list(range(1, 22))


async def test_events_without_subscribers_are_skipped_unread(database: Database) -> None:
    async with running_feed(database, page_size=5) as feed:
        assert await feed.poll() == 0
        await write(database, *(creation(f"user{n}") for n in range(40)))
        read = pages_read(database)

        assert await feed.poll() == 40
        assert len(read) == 2  # a page, and the empty read after the last event
        assert await Follower(feed, 3).until(40) == list(range(4, 41))


@overlapping
async def test_tracker_is_blocked_only_by_a_gap(
    database_url: str,
) -> None:
    async with opened(database_url) as database:
        await write(database, creation("ada"))
        held = Writer(database, "held")
        await held.begin(1)
        tracker = WatermarkTracker(database, *[lambda *_: None] * 4)
        assert await tracker.advance(followed=True) == 1
        held_up = [tracker.is_blocked]
        await write(database, creation("bob"))
        assert await tracker.advance(followed=True) == 1
        held_up.append(tracker.is_blocked)  # there is a gap now
        await held.end(commit=True)
        assert await tracker.advance(followed=True) == 3
        assert [*held_up, tracker.is_blocked] == [False, True, False]
        assert tracker.blocked_seconds == 0


async def test_concurrent_polls_share_one_read(database: Database) -> None:
    async with running_feed(database) as feed:
        await feed.poll()
        await write(database, creation("ada"))
        read = pages_read(database)
        assert await asyncio.gather(*(feed.poll() for _ in range(20))) == [1] * 20
        assert len(read) == 1
        await write(database, creation("bob"))
        assert await feed.poll() == 2
