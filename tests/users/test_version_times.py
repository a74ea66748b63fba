"""Timestamps of a user's versions increase even if the server's clock does not."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import gt
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database
from db.filters import EventFilter
from db.models import ActorKind, UserEvent
from users.commands import Command, Create, Erase, Retention, Transition, Update
from users.history import as_of
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.service import UserService

CALLER = Caller(Actor(ActorKind.SERVICE, id="import"), EVERY_SCOPE)
START = datetime(2026, 3, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIFE: Sequence[Command] = (
    Create(fields={"username": "ada", "email": "ada@example.com"}),
    Update(user_id=1, fields={"display_name": "Ada"}),
    Transition(action=UserAction.DEACTIVATE, user_id=1),
    Transition(action=UserAction.REACTIVATE, user_id=1),
    Transition(action=UserAction.DELETE, user_id=1),
    Transition(
        action=UserAction.DELETE, user_id=1, retention=Retention(erase_after=START + 99 * HOUR)
    ),
    Transition(action=UserAction.RESTORE, user_id=1),
    Transition(action=UserAction.DELETE, user_id=1),
    Erase(user_id=1, confirm_username=None, reason="asked for"),
)
CLOCKS: dict[str, Callable[[int], datetime]] = {
    "goes back an hour each time": lambda n: START - n * HOUR,
    "jumps an hour forward and back": lambda n: START + n % 2 * HOUR + timedelta(seconds=n),
    "stands": lambda _: START,
}


def ticking(clock: Callable[[int], datetime]) -> Callable[[], datetime]:
    moments: Iterator[datetime] = map(clock, range(1_000))
    return moments.__next__


async def run(
    database: Database, clock: Callable[[], datetime], *operations: Command
) -> Sequence[Any]:
    async with database.session() as session, session.transaction():
        answer = await UserService(session, CALLER, clock=clock).execute(operations)
    return answer.results


async def events(database: Database, *where: Any) -> Sequence[UserEvent]:
    async with database.session() as session:
        return (await session.scalars(select(UserEvent).where(*where).order_by(UserEvent.id))).all()


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
async def test_each_version_is_later_than_the_one_before(
    database: Database, clock: Callable[[int], datetime]
) -> None:
    now, versions = ticking(clock), []
    for operation in LIFE:
        [result] = await run(database, now, operation)
        versions.append(result.user)
    times = [user.updated_at for user in versions]
    assert [user.version for user in versions] == list(range(1, len(LIFE) + 1))
    assert times == sorted(set(times))
    assert [event.at for event in await events(database)] == times
    assert [user.status_changed_at for user in versions] == [
        times[n] for n in (0, 0, 2, 3, 4, 4, 6, 7, 7)
    ]
    assert [user.deleted_at for user in versions] == [None] * 4 + [times[4]] * 2 + [None] + [
        times[7]
    ] * 2
    assert versions[-1].erased_at == times[-1]
    assert {user.created_at for user in versions} == {times[0]}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
async def test_each_version_in_a_batch_is_later_than_the_one_before(
    database: Database, clock: Callable[[int], datetime]
) -> None:
    await run(database, ticking(clock), *LIFE[:1])
    await run(database, ticking(clock), *LIFE[1:])
    times = [event.at for event in await events(database)]
    assert len(times) == len(LIFE)
    assert times == sorted(set(times))


async def test_filter_by_time_misses_no_later_version(database: Database) -> None:
    now = ticking(CLOCKS["goes back an hour each time"])
    for operation in LIFE:
        seen = await events(database)
        await run(database, now, operation)
        if seen:
            event_filter = EventFilter(user_ids=(1,), at=((gt, seen[-1].at),))
            later = await events(database, event_filter.where(), *event_filter.when())
            assert [event.id for event in later] == [seen[-1].id + 1]


async def test_past_version_has_the_timestamps_of_its_write(database: Database) -> None:
    now, versions = ticking(CLOCKS["goes back an hour each time"]), []
    for operation in LIFE[:-1]:
        [result] = await run(database, now, operation)
        versions.append(result.user)
    async with database.session() as session:
        past_versions = await as_of(session, [(1, user.version) for user in versions])
    for user in versions:
        before = past_versions[1, user.version]
        for name in ("updated_at", "status_changed_at", "deleted_at", "created_at"):
            assert getattr(before, name) == getattr(user, name)


async def test_users_have_independent_timestamps(database: Database) -> None:
    """If the clock goes back, a user's time does not depend on the times of other users."""
    now = ticking(CLOCKS["goes back an hour each time"])
    results = [
        (await run(database, now, Create(fields={"username": n, "email": f"{n}@example.com"})))[0]
        for n in ("ada", "bob", "cleo")
    ]
    assert [result.user.updated_at for result in results] == [START, START - HOUR, START - 2 * HOUR]
