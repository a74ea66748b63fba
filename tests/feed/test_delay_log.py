"""Open transactions hold back the feed until they end, and the delay is logged."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from db import migrations
from db.engine import Database
from db.errors import is_unreachable
from feed.delay_log import DelayLog
from tests.conftest import opened
from tests.support.clock import Clock
from tests.support.feed import (
    Follower,
    creation,
    running_feed,
    wait_until,
    wait_until_started,
    write,
)
from tests.support.open_transactions import INSERT, left_open

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


class Held:
    """A fake database that describes transactions by their names."""

    async def describe_event_writers(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        return [{"pid": name} for name in sorted(names)]


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


async def test_delay_is_logged_after_3_seconds_then_every_minute_and_at_its_end(
    log: list[Any],
) -> None:
    clock, held, messages = Clock(), Held(), []
    watch = DelayLog(held, clock)  # type: ignore[arg-type]
    for tenths in range(1_300):
        clock.time = 1_000 + tenths / 10
        await watch.blocked({"a", "b"})
    clock.time = 1_200
    watch.unblocked()
    watch.unblocked()
    messages = [(entry["log_level"], entry["event"], entry["seconds"]) for entry in log]
    held_back = "an open transaction holds back the feed"
    assert messages == [
        ("warning", held_back, 3.0),
        ("warning", held_back, 63.0),
        ("warning", held_back, 123.0),
        ("info", "the feed is no longer held back", 200.0),
    ]
    assert log[0]["transactions"] == [{"pid": "a"}, {"pid": "b"}]


async def test_short_delays_are_not_logged(log: list[Any]) -> None:
    clock, held = Clock(), Held()
    watch = DelayLog(held, clock)  # type: ignore[arg-type]
    for _ in range(100):  # many short delays in sequence
        await watch.blocked({"a"})
        clock.time += 2.9
        watch.unblocked()
    assert log == []


@on_postgres
async def test_log_names_the_process_that_holds_back_the_feed(
    database_url: str, log: list[Any]
) -> None:
    async with opened(database_url) as database, running_feed(database, log_delay=0.0) as feed:
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        async with left_open(database_url, "nightly import") as other:
            pid = other.get_server_pid()
            await write(database, creation("bob"))
            feed.wake()
            await wait_until(lambda: bool(log))
            [held] = log
            [transaction] = held["transactions"]
            assert transaction.pop("seconds") >= 0
            assert transaction == {
                "pid": pid,
                "application_name": "nightly import",
                "state": "idle in transaction",
            }
            assert "INSERT" not in str(held)
            await other.execute("ROLLBACK")
        feed.wake()
        await follower.until(max(follower.ids) + 2)
        assert [entry["event"] for entry in log] == [
            "an open transaction holds back the feed",
            "the feed is no longer held back",
        ]


@on_postgres
async def test_idle_transaction_of_another_program_is_ended_by_the_database(
    database_url: str,
) -> None:
    async with opened(database_url) as database, running_feed(database) as feed:
        assert await migrations.limit_idle_transactions(database, 1)
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        async with left_open(database_url) as other:
            await write(database, creation("bob"))
            feed.wake()
            await follower.until(max(follower.ids) + 2)
            with pytest.raises(Exception) as caught:  # noqa: PT011 - of the server or of asyncpg
                await other.execute("COMMIT")
        assert is_unreachable(caught.value)
        assert not isinstance(caught.value, TimeoutError)


@on_postgres
async def test_idle_transaction_of_roster_is_ended_by_the_database(database_url: str) -> None:
    """For example of a frozen process: the others continue, and it gets an error later."""
    async with (
        opened(database_url) as database,
        opened(database_url, idle_transaction_timeout=2) as frozen,
        running_feed(database) as feed,
    ):
        follower = Follower(feed)
        await wait_until_started(feed, database, follower)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of the server or of asyncpg
            await leave_open(frozen, database, follower, feed)
        assert is_unreachable(caught.value)
        assert not isinstance(caught.value, TimeoutError)
        await write(frozen, creation("cleo"))  # reconnects


async def leave_open(frozen: Database, database: Database, follower: Follower, feed: Any) -> None:
    async with frozen.session() as session, session.transaction():
        await (await session.connection()).exec_driver_sql(INSERT)
        await write(database, creation("bob"))
        feed.wake()
        await follower.until(max(follower.ids) + 2)
