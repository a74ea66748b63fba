"""Helpers for tests of the feed: subscribers, writers and the events they commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select

from db.engine import Database
from db.filters import EventFilter
from db.models import ActorKind, UserEvent
from feed.anchors import Anchor
from feed.feed import Feed
from feed.options import FeedOptions
from feed.reader import ALL_EVENTS
from users.commands import Create
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.service import UserService

ANA = Caller(Actor(ActorKind.USER, id="ana"), EVERY_SCOPE)


def creation(name: str) -> Create:
    return Create(fields={"username": name, "email": f"{name}@example.com"})


async def write(database: Database, *operations: Any, caller: Caller = ANA) -> None:
    async with database.session() as session, session.transaction():
        await UserService(session, caller).execute(operations)


@asynccontextmanager
async def running_feed(database: Database, **options: Any) -> AsyncIterator[Feed]:
    feed = Feed(database, FeedOptions(**options))
    try:
        yield feed
    finally:
        await feed.close()


class Follower:
    """Follows the feed in the background and records the received ids."""

    def __init__(
        self, feed: Feed, after: Anchor | int | None = None, filter: EventFilter = ALL_EVENTS
    ) -> None:
        self.ids: list[int] = []
        self._received = asyncio.Condition()
        self.task = asyncio.create_task(self._follow(feed, after, filter))

    async def _follow(self, feed: Feed, after: Anchor | int | None, filter: EventFilter) -> None:
        async for rows in feed.follow(after, filter):
            assert rows
            async with self._received:
                self.ids += [row.id for row in rows]
                self._received.notify_all()

    async def until(self, last: int) -> list[int]:
        """Returns all ids after the id `last` arrived."""
        async with asyncio.timeout(60), self._received:
            await self._received.wait_for(lambda: last in self.ids)
        return self.ids

    async def stop(self) -> list[int]:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        return self.ids


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def committed_ids(database: Database) -> list[int]:
    async with database.session() as session:
        return list(await session.scalars(select(UserEvent.id).order_by(UserEvent.id)))


def pages_read(database: Database) -> list[str]:
    """Records the later statements that read whole events."""
    read: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT user_events.") and "user_events.changes" in statement:
            read.append(statement)

    return read


async def wait_until_started(feed: Feed, database: Database, *followers: Follower) -> None:
    """Waits until followers without a cursor are active, by writing extra events."""
    async with asyncio.timeout(60):
        while not all(follower.ids for follower in followers):
            await write(database, creation(f"starter-{uuid4()}"))
            feed.wake()
            await asyncio.sleep(0.01)  # time to receive it, or the next one
    last = (await committed_ids(database))[-1]
    for follower in followers:
        await follower.until(last)


# PostgreSQL only: SQLite has one writer at a time, and its events are in the order of commits.
overlapping = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


class Writer:
    """A transaction that stays open until `end` is called."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name
        self.stack = AsyncExitStack()

    async def begin(self, events: int) -> None:
        session = await self.stack.enter_async_context(self.database.session())
        await self.stack.enter_async_context(session.transaction())
        names = [f"{self.name}x{n}" for n in range(events)]
        await UserService(session, ANA).execute([creation(name) for name in names])

    async def end(self, *, commit: bool) -> None:
        if commit:
            await self.stack.aclose()
            return
        error = ZeroDivisionError()
        await self.stack.__aexit__(ZeroDivisionError, error, None)
