"""What one operation holds: its session, taken in turns, its caller, its loaders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, Select
from strawberry import Info
from strawberry.dataloader import DataLoader

from db.engine import Database
from db.listing import Window
from db.statements import (
    EVENTS_BY_ID,
    USERS_BY_EMAIL,
    USERS_BY_EXTERNAL_ID,
    USERS_BY_ID,
    USERS_BY_USERNAME,
    histories,
)
from users.at_once import add_at_once
from users.feed import Feed
from users.operations import Answer, Operation
from users.policy import Caller
from users.retention import forget
from users.service import UserService

Rows = Sequence[Row[Any]]

# A statement has at most 32,767 parameters on either database.
_MAX_BATCH = 1_000


class Context:
    """One operation's hold on the directory.

    Query fields resolve side by side, and an `AsyncSession` is not made for that. So they take
    turns on it here. A connection is held while somebody has a turn or waits for one, and given
    back after that: never more than one, and none while an operation does something else. Nobody
    waits for a loader, or for another turn, while having one.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        caller: Caller,
        request_id: str,
        address: str = "",
        token: str | None = None,
        still: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.feed = feed
        self.caller = caller
        self.request_id = request_id
        self.address = address
        self.token = token
        self.is_still_let_in = still or _always
        self._database = database
        self._session = database.session()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._having_turns: set[asyncio.Task[Any]] = set()
        self._histories: dict[Window, DataLoader[int, Rows]] = {}
        self.users_by_id = self._loader(USERS_BY_ID)
        self.users_by_username = self._loader(USERS_BY_USERNAME)
        self.users_by_email = self._loader(USERS_BY_EMAIL)
        self.users_by_external_id = self._loader(USERS_BY_EXTERNAL_ID)
        self.events_by_id = self._loader(EVENTS_BY_ID)

    @property
    def throttled_as(self) -> str:
        """Name whose requests are counted together."""
        actor = self.caller.actor
        return self.address if actor.id is None else f"{actor.kind} {actor.id}"

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[UserService]:
        """Open one transaction: it is committed when the block ends, rolled back when it raises."""
        async with (
            self._taking_a_writer_s_turn(),
            self._database.transaction(self._session) as session,
        ):
            yield UserService(session, self.caller, self.request_id)
        self.feed.wake()

    async def at_once(self, operation: Operation) -> Answer | None:
        """Write without a transaction around it; None where that cannot be, and nothing is done."""
        async with self._taking_a_writer_s_turn():
            answer = await add_at_once(self._database, self.caller, operation, self.request_id)
        if answer:
            self.feed.wake()
        return answer

    async def rows(self, statement: Select[Any], parameters: dict[str, Any] | None = None) -> Rows:
        """Read, in autocommit."""
        async with self._taking_turns():
            if not self._session.in_transaction():
                await self._database.begin_reading(self._session)
            rows: Rows = (await self._session.execute(statement, parameters)).all()
            return rows

    async def forget(self) -> None:
        await forget(self._database)

    async def end(self) -> None:
        """End what is still read for an operation that was given up.

        A loader reads in a task of its own, which nobody else would cancel.
        """
        left = [task for task in self._having_turns if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def history(self, window: Window) -> DataLoader[int, Rows]:
        """Load the same window of the histories of all the users it is asked for."""
        if window not in self._histories:

            async def load(user_ids: list[int]) -> list[Rows]:
                by_user: dict[int, list[Row[Any]]] = {user_id: [] for user_id in user_ids}
                for row in await self.rows(histories(list(by_user), window)):
                    by_user[row.user_id].append(row)
                return [by_user[user_id] for user_id in user_ids]

            self._histories[window] = DataLoader(load, max_batch_size=_MAX_BATCH, cache=False)
        return self._histories[window]

    def _loader(self, statement: Select[Any]) -> DataLoader[Any, Row[Any] | None]:
        """Merge look-ups by key into one statement. Nothing is kept: a write may come between."""

        async def load(keys: list[Any]) -> list[Row[Any] | None]:
            found = {row.key: row for row in await self.rows(statement, {"keys": list(set(keys))})}
            return [found.get(key) for key in keys]

        return DataLoader(load, max_batch_size=_MAX_BATCH, cache=False)

    @asynccontextmanager
    async def _taking_a_writer_s_turn(self) -> AsyncIterator[None]:
        async with self._taking_turns():
            if self._session.in_transaction():
                await self._session.close()  # a reader's, left open for the next one
            yield

    @asynccontextmanager
    async def _taking_turns(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task  # or nothing could be awaited
        self._having_turns.add(task)
        self._waiting += 1
        try:
            async with self._turn:
                try:
                    yield
                except BaseException:
                    await self._session.close()
                    raise
                if self._waiting == 1:
                    await self._session.close()
        finally:
            self._waiting -= 1
            self._having_turns.discard(task)


async def _always() -> bool:
    return True


GraphInfo = Info[Context, None]
