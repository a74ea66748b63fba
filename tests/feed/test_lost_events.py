"""The feed of a process after a restore, or a failover that lost commits: no event is skipped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from structlog.testing import capture_logs

from db.engine import Database
from db.errors import StandbyError
from db.statements.events import EVENTS_BY_ID
from feed import epochs
from feed.anchors import Anchor, InvalidAnchor
from feed.feed import Feed
from feed.reader import ALL_EVENTS
from feed.wake_ups import WakeUps
from tests.conftest import opened
from tests.support.feed import (
    Follower,
    Writer,
    creation,
    overlapping,
    running_feed,
    wait_until,
    write,
)
from tests.support.history import lose_events
from users.clock import now
from users.commands import Erase, Transition
from users.lifecycle import UserAction


async def anchor_at(database: Database, id_: int) -> Anchor:
    [event] = await database.reader.lookup(EVENTS_BY_ID).load([id_])
    return Anchor.of(event)


async def create(database: Database, name: str, count: int) -> None:
    for n in range(count):
        await write(database, creation(f"{name}{n}"))


async def renew_epoch(database: Database) -> None:
    async with database.session() as session, session.transaction():
        await epochs.renew(session, now=now(), reason=None)


async def ids_until_end(follower: Follower) -> list[int]:
    """Returns the ids that a follower received before it ended because events were lost."""
    with pytest.raises(InvalidAnchor):
        await asyncio.wait_for(follower.task, 60)
    return follower.ids


async def read_after(feed: Feed, after: Anchor | int | None, last: int) -> list[int]:
    follower = Follower(feed, after)
    try:
        return list(await follower.until(last))
    finally:
        await follower.stop()


@pytest.fixture(autouse=True)
def logged() -> Any:
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield entries
    structlog.configure(**before)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The same database as another server process sees it."""
    async with opened(database_url) as database:
        yield database


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds read only when the test calls `poll`."""

    async def wait_forever(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Feed, "_poll_loop", wait_forever)
    monkeypatch.setattr(WakeUps, "listen", wait_forever)


async def test_loss_ends_live_followers_and_valid_positions_get_every_new_event(
    database: Database, logged: list[dict[str, Any]]
) -> None:
    await create(database, "user", 30)
    at_30, at_20 = await anchor_at(database, 30), await anchor_at(database, 20)
    async with running_feed(database) as feed:
        live = Follower(feed, at_20)
        assert await live.until(30) == list(range(21, 31))
        await lose_events(database, 20)
        await create(database, "new", 15)
        feed.wake()
        assert await ids_until_end(live) == list(range(21, 31))
        assert await ids_until_end(Follower(feed, at_30)) == []
        assert await read_after(feed, at_20, 35) == list(range(21, 36))
    lost = [entry for entry in logged if "position is gone" in entry["event"]]
    assert [entry["log_level"] for entry in lost] == ["warning"]
    assert {key: lost[0][key] for key in ("position", "new_position")} == {
        "position": 30,
        "new_position": lost[0]["position"] - lost[0]["ids_back"],
    }


async def test_waiting_follower_ends_without_a_new_event(database: Database) -> None:
    await create(database, "user", 3)
    async with running_feed(database) as feed:
        waiting = Follower(feed, await anchor_at(database, 3))
        await wait_until(lambda: bool(feed._tasks))  # noqa: SLF001 - the subscription is active
        await feed.poll()
        await lose_events(database, 2)
        assert await ids_until_end(waiting) == []


async def test_loss_ends_the_followers_of_every_process(
    database: Database, other: Database
) -> None:
    await create(database, "user", 5)
    async with running_feed(database) as one, running_feed(other) as two:
        followers = [Follower(feed, 0) for feed in (one, two)]
        for follower in followers:
            assert await follower.until(5) == [1, 2, 3, 4, 5]
        await lose_events(database, 3)
        await create(database, "new", 4)
        for follower in followers:
            assert await ids_until_end(follower) == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("by_hand")
async def test_loss_ends_a_follower_during_its_replay(
    database: Database,
) -> None:
    await create(database, "user", 10)
    async with (
        running_feed(database, page_size=4) as feed,
        feed.subscribe(0, ALL_EVENTS) as position,
    ):
        assert [row.id for row in await position.read()] == [1, 2, 3, 4]
        await lose_events(database, 8)
        await create(database, "new", 5)
        await feed.poll()
        with pytest.raises(InvalidAnchor):
            await position.read()


async def test_data_derived_from_lost_events_is_dropped(database: Database) -> None:
    await create(database, "user", 3)
    async with running_feed(database) as feed:
        live = Follower(feed, 0)
        await live.until(3)
        feed.derived["made of event 3"] = "user2"
        await lose_events(database, 2)
        await ids_until_end(live)
        assert feed.derived == {}
        assert list(feed._buffer._events) == []  # noqa: SLF001 - what is tested


@pytest.mark.parametrize("left", [0, 1])
async def test_feed_that_lost_all_or_almost_all_events_restarts(
    database: Database, left: int
) -> None:
    await create(database, "user", 4)
    async with running_feed(database) as feed:
        live = Follower(feed, 0)
        await live.until(4)
        await lose_events(database, left)
        await ids_until_end(live)
        assert await feed.poll() == left
        again = Follower(feed, 0)
        await create(database, "new", 3)
        feed.wake()
        assert await again.until(left + 3) == list(range(1, left + 4))


async def test_follower_of_an_empty_feed_survives_a_new_epoch(database: Database) -> None:
    async with running_feed(database) as feed:
        assert await feed.poll() == 0
        live = Follower(feed)
        await wait_until(lambda: feed._subscribers == 1)  # noqa: SLF001 - the subscription is active
        await renew_epoch(database)  # no client has a cursor of it
        await feed.poll()
        await create(database, "user", 2)
        feed.wake()
        assert await live.until(2) == [1, 2]
        await lose_events(database, 0)
        assert await ids_until_end(live) == [1, 2]


async def test_process_without_followers_restarts_after_a_loss(database: Database) -> None:
    async with running_feed(database) as feed:
        await create(database, "user", 5)
        assert await feed.poll() == 5
        await lose_events(database, 2)
        assert await feed.poll() == 2
        await create(database, "new", 6)
        assert await feed.poll() == 8


async def test_position_that_matches_no_event_is_invalid(database: Database) -> None:
    await create(database, "user", 2)
    first, last = await anchor_at(database, 1), await anchor_at(database, 2)
    async with running_feed(database) as feed:
        for invalid in (
            Anchor(3, last.mark),
            Anchor(2**63 - 1, last.mark),
            Anchor(1, last.mark),
            Anchor(2, first.mark),
            Anchor(2, ""),
        ):
            assert await ids_until_end(Follower(feed, invalid)) == []
        assert await read_after(feed, first, 2) == [2]


async def test_position_of_an_erased_users_event_stays_valid(database: Database) -> None:
    await create(database, "user", 2)
    await write(database, Transition(action=UserAction.DELETE, user_id=1, reason="left"))
    anchors = [await anchor_at(database, id_) for id_ in (1, 2, 3)]
    async with running_feed(database) as feed:
        live = Follower(feed, 0)
        await live.until(3)
        await write(database, Erase(user_id=1, confirm_username=None, reason="asked"))
        feed.wake()
        assert await live.until(4) == [1, 2, 3, 4]
        assert [await read_after(feed, anchor, 4) for anchor in anchors] == [
            [2, 3, 4],
            [3, 4],
            [4],
        ]


async def test_new_epoch_ends_followers_and_invalidates_positions(
    database: Database, logged: list[dict[str, Any]]
) -> None:
    await create(database, "user", 3)
    before = await anchor_at(database, 2)
    async with running_feed(database) as feed:
        live = Follower(feed, before)
        assert await live.until(3) == [3]
        await renew_epoch(database)
        feed.wake()
        assert await ids_until_end(live) == [3]
        assert await ids_until_end(Follower(feed, before)) == []
        after = await anchor_at(database, 2)
        assert after.mark != before.mark
        assert await read_after(feed, after, 3) == [3]
    assert sum("position is gone" in entry["event"] for entry in logged) == 1


async def roll_back(database: Database, name: str) -> None:
    """Consumes the id of an event, on PostgreSQL."""
    held = Writer(database, name)
    await held.begin(1)
    await held.end(commit=False)


@overlapping
async def test_rolled_back_ids_do_not_count_as_lost(database: Database) -> None:
    await create(database, "user", 2)
    await roll_back(database, "gone")
    async with running_feed(database) as feed:
        live = Follower(feed, await anchor_at(database, 2))
        await create(database, "new", 1)
        await roll_back(database, "lost")
        await create(database, "newer", 1)
        feed.wake()
        assert await live.until(6) == [4, 6]
        later = Feed(database)
        assert await later.poll() == 6
        await later.close()


@overlapping
@pytest.mark.usefixtures("by_hand")
async def test_new_events_with_the_ids_of_lost_ones_above_a_gap_are_delivered(
    database: Database,
) -> None:
    """A follower without a cursor skips only the events that existed when it started."""
    await create(database, "user", 3)
    async with running_feed(database) as feed:
        await feed.poll()
        held = Writer(database, "held")
        await held.begin(1)
        await create(database, "seen", 3)
        async with feed.subscribe(None, ALL_EVENTS) as position:
            assert await position.read() == []
            await held.end(commit=False)
            await lose_events(database, 3)
            await create(database, "new", 4)
            await feed.poll()
            assert [row.id for row in await position.read()] == [4, 5, 6, 7]


@overlapping
async def test_gap_whose_end_was_lost_waits_for_new_transactions(database: Database) -> None:
    """The end of earlier transactions does not allow skipping the ids of new ones."""
    await create(database, "user", 3)
    async with running_feed(database) as feed:
        held = Writer(database, "held")
        assert await feed.poll() == 3
        await held.begin(1)
        await create(database, "seen", 3)
        assert await feed.poll() == 3
        await held.end(commit=False)
        await lose_events(database, 3)
        again = Writer(database, "again")
        await again.begin(1)
        await create(database, "new", 1)
        assert [await feed.poll() for _ in range(3)] == [3, 3, 3]
        await again.end(commit=True)
        assert await feed.poll() == 5


@overlapping
async def test_gap_whose_end_was_lost_does_not_move_the_watermark_too_far(
    database: Database,
) -> None:
    await create(database, "user", 3)
    async with running_feed(database) as feed:
        held = Writer(database, "held")
        assert await feed.poll() == 3
        await held.begin(1)
        await create(database, "seen", 3)
        assert await feed.poll() == 3
        await held.end(commit=False)
        await lose_events(database, 3)
        await create(database, "new", 1)
        assert await feed.poll() == 4
        await create(database, "newer", 1)
        assert await feed.poll() == 5


@overlapping
@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("behind", [1, 4, 5])
@pytest.mark.parametrize("lost", [False, True])
async def test_gap_before_several_pages_skips_no_event(
    database: Database, behind: int, *, lost: bool
) -> None:
    await create(database, "user", 1)
    async with (
        running_feed(database, page_size=2) as feed,
        feed.subscribe(None, ALL_EVENTS) as position,
    ):
        held, again = Writer(database, "held"), Writer(database, "again")
        await held.begin(1)
        await create(database, "seen", behind)
        assert await feed.poll() == 1
        await held.end(commit=False)
        last = 2 + behind
        if lost:
            await lose_events(database, 1)
            await again.begin(1)
            await create(database, "new", behind)
            assert [await feed.poll() for _ in range(2)] == [1, 1]
            await again.end(commit=True)
        assert await feed.poll() == last
        expected = list(range(2 if lost else 3, last + 1))
        assert [row.id for row in await position.read()] == expected


@overlapping
async def test_position_settled_in_another_process_is_valid(
    database: Database, other: Database
) -> None:
    """A process that starts beside a writer may be behind and must accept such cursors."""
    await create(database, "user", 2)
    async with running_feed(database) as ahead, running_feed(other) as behind:
        await roll_back(database, "gone")
        await create(database, "new", 2)
        assert await ahead.poll() == 5
        at_5 = await anchor_at(database, 5)
        held = Writer(database, "held")
        await held.begin(1)
        assert await behind.poll() == 2
        follower = Follower(behind, at_5)
        await wait_until(lambda: behind._subscribers == 1)  # noqa: SLF001 - the subscription is active
        await held.end(commit=True)
        await create(database, "last", 1)
        behind.wake()
        assert await follower.until(7) == [6, 7]


@overlapping
@pytest.mark.usefixtures("by_hand")
async def test_lost_position_above_the_own_watermark_becomes_invalid(
    database: Database, other: Database
) -> None:
    await create(database, "user", 2)
    async with running_feed(database) as ahead, running_feed(other) as behind:
        await roll_back(database, "gone")
        await create(database, "new", 2)
        assert await ahead.poll() == 5
        at_5 = await anchor_at(database, 5)
        held = Writer(database, "held")
        await held.begin(1)
        assert await behind.poll() == 2
        async with behind.subscribe(at_5, ALL_EVENTS) as position:
            assert await position.read() == []
            assert not position.is_shareable
            await held.end(commit=False)
            await lose_events(database, 2)
            await create(database, "newer", 1)
            assert await behind.poll() == 3
            with pytest.raises(InvalidAnchor):
                await position.read()


@overlapping
async def test_erasure_with_the_id_of_a_lost_one_drops_the_buffers(database: Database) -> None:
    await create(database, "user", 2)
    for user_id in (1, 2):
        await write(database, Transition(action=UserAction.DELETE, user_id=user_id))
    async with running_feed(database) as feed:
        assert await feed.poll() == 4
        dropped = []
        for user_id in (1, 2):
            held = Writer(database, f"held{user_id}")
            await held.begin(1)
            await write(database, Erase(user_id=user_id, confirm_username=None, reason="asked"))
            assert await feed.poll() == 4
            dropped.append(feed._buffer.generation)  # noqa: SLF001 - what is tested
            await held.end(commit=False)
            await lose_events(database, 4)
        assert dropped[1] == dropped[0] + 1


@overlapping
async def test_standby_that_is_behind_ends_no_follower(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that responds before its promotion may not have received an event yet."""
    await create(database, "user", 3)
    anchor = await anchor_at(database, 3)
    async with running_feed(database) as feed:
        live = Follower(feed, anchor)
        await wait_until(lambda: feed._subscribers == 1)  # noqa: SLF001 - the subscription is active
        await feed.poll()

        async def standby() -> None:
            raise StandbyError

        with monkeypatch.context() as behind:
            behind.setattr(database, "check_primary", standby)
            async with database.engine.begin() as connection:
                await connection.execute(text("ALTER TABLE user_events RENAME TO replayed"))
                await connection.execute(
                    text("CREATE TABLE user_events AS SELECT * FROM replayed WHERE id < 3")
                )
            with pytest.raises(StandbyError):
                await feed.poll()
            async with database.engine.begin() as connection:
                await connection.execute(text("DROP TABLE user_events"))
                await connection.execute(text("ALTER TABLE replayed RENAME TO user_events"))
        await create(database, "new", 1)
        feed.wake()
        assert await live.until(4) == [4]
