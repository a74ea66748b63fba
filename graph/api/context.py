"""What one operation holds: its connection, taken in turns, its caller, its loaders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, Select
from sqlalchemy.ext.asyncio import AsyncSession
from strawberry import Info
from strawberry.dataloader import DataLoader

from db.batched_lookup import KeyLookup
from db.engine import Database
from db.outcome import Write
from db.pagination import Window
from db.prepared import PreparedStatement
from db.session_lock import SessionLock
from db.statements import (
    BRIEF_USERS_BY_ID,
    EVENTS_BY_ID,
    USERS_BY_EMAIL,
    USERS_BY_EXTERNAL_ID,
    USERS_BY_ID,
    USERS_BY_USERNAME,
    histories,
)
from feed.anchors import Anchor, InvalidAnchor, verify
from feed.feed import Feed
from graph.api.errors import InvalidCursor
from users.at_once import add_at_once
from users.commands import Command, CommandResults
from users.former_ids import unreleased
from users.identity import UsernameEmails
from users.key_cache import KeyCache
from users.policy import Caller
from users.retention import forget
from users.service import UserService

if TYPE_CHECKING:
    from asyncio import Future

Rows = Sequence[Any]

# A statement has at most 32,767 parameters on either database.
_MAX_BATCH = 1_000
MAX_EVENT_ID = 2**63 - 1


class Loader:
    """One kind of look-up, of one operation: merged with those of others."""

    __slots__ = ("_lookup", "_turns")

    def __init__(self, lookup: KeyLookup, turns: SessionLock) -> None:
        self._lookup = lookup
        self._turns = turns

    def load(self, keys: Sequence[Any]) -> "Future[list[Any]]":
        """Ask for the rows of keys, in their order; None stands where there is none."""
        return self._turns.share(self._lookup.load, keys)

    async def find(self, key: Any) -> Any | None:
        [row] = await self.load([key])
        return row


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How many seconds a mutation may take, and until when by the clock of the event loop."""

    seconds: float = inf
    deadline: float | None = None

    def is_over(self) -> bool:
        return self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline


class Context:
    """One operation's hold on the directory.

    Query fields resolve side by side, and an operation is to have one connection at most. So they
    take turns: whoever reads or writes is alone, and all who look something up by its key share a
    turn, since the process looks it up for them. Nobody waits for a loader, or for another turn,
    while having one.
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
        username_emails: UsernameEmails = UsernameEmails.OWN,
    ) -> None:
        self.feed = feed
        self.caller = caller
        self.request_id = request_id
        self.address = address
        self.token = token
        self.is_still_let_in = still or _always
        self.last_event_id: str | None = None  # the cursor that an EventSource comes back with
        self.limit = TimeLimit()
        self.writes: dict[str, Write] = {}  # of a mutation, by the names of its fields
        self._database = database
        self._username_emails = username_emails
        self._turns = SessionLock()
        self._by_id: Loader | None = None
        self._brief_by_id: Loader | None = None
        self._histories: dict[Window, DataLoader[int, Rows]] = {}

    @property
    def users_by_id(self) -> Loader:
        if self._by_id is None:
            self._by_id = self._loader(USERS_BY_ID)
        return self._by_id

    @property
    def brief_users_by_id(self) -> Loader:
        """Look up no more of users than BRIEF."""
        if self._brief_by_id is None:
            self._brief_by_id = self._loader(BRIEF_USERS_BY_ID)
        return self._brief_by_id

    @property
    def users_by_username(self) -> Loader:
        return self._loader(USERS_BY_USERNAME)

    @property
    def users_by_email(self) -> Loader:
        return self._loader(USERS_BY_EMAIL)

    @property
    def users_by_external_id(self) -> Loader:
        return self._loader(USERS_BY_EXTERNAL_ID)

    @property
    def events_by_id(self) -> Loader:
        return self._loader(EVENTS_BY_ID)

    @property
    def throttled_as(self) -> str:
        """Name whose requests are counted together."""
        actor = self.caller.actor
        return self.address if actor.id is None else f"{actor.kind} {actor.id}"

    @asynccontextmanager
    async def writing(self, write: Write, *, in_line: bool = False) -> AsyncIterator[UserService]:
        """Open one transaction: it is committed when the block ends, rolled back when it raises."""
        async with self._turns.alone():
            try:
                async with self._database.transaction(
                    self._session, in_line=in_line, write=write
                ) as session:
                    yield UserService(
                        session,
                        self.caller,
                        self.request_id,
                        username_emails=self._username_emails,
                    )
            finally:
                await self._session.close()
        self.feed.wake()

    async def at_once(self, command: Command, write: Write) -> CommandResults | None:
        """Write without a transaction around it; None where that cannot be, and nothing is done."""
        async with self._turns.alone():
            answer = await add_at_once(
                self._database,
                self.caller,
                command,
                self.request_id,
                write=write,
                username_emails=self._username_emails,
            )
        if answer:
            self.feed.wake()
        return answer

    @cached_property
    def keys(self) -> KeyCache:
        return KeyCache()

    @cached_property
    def _session(self) -> AsyncSession:
        return self._database.session()

    async def rows(self, statement: Executable, given: Mapping[str, Any] | None = None) -> Rows:
        """Read by a statement that was made for this once, in autocommit."""
        async with self._turns.alone():
            rows: Rows = await self._database.reader.select(statement, given or {})
            return rows

    async def read(self, query: PreparedStatement, given: Mapping[str, Any]) -> Rows:
        """Read by a prepared statement."""
        async with self._turns.alone():
            return await self._database.reader.rows(query, given)

    async def unreleased(self, user_id: int, external_ids: set[str]) -> set[str]:
        if not external_ids:
            return external_ids
        async with self._turns.alone(), self._database.session() as session:
            await self._database.begin_reading(session)
            return await unreleased(session, user_id, external_ids)

    async def forget(self) -> None:
        await forget(self._database)

    async def end(self) -> None:
        """End what is still read for an operation that was given up.

        Loaders read in tasks of their own, which nobody else would cancel.
        """
        await self._turns.end()
        await self._database.reader.end_unwanted()

    async def settled_until(self) -> int:
        """Return the watermark: the id up to which events are listed.

        Events above it can be seen already, but a lower one may still be committed. A client that
        follows from a cursor above the watermark would miss that one.
        """
        settled = await self.feed.watermark()
        return MAX_EVENT_ID if settled is None else settled

    async def verify(self, anchors: Sequence[Anchor]) -> None:
        """Raise InvalidCursor unless the events of all cursors exist unchanged.

        To be called after the page was read: what is there then was there before. The other way
        round, a restore between the two could go unnoticed.
        """
        if not anchors:
            return
        try:
            await verify(anchors, self.events_by_id.load, self._database.check_primary)
        except InvalidAnchor:
            raise InvalidCursor from None

    def history(self, window: Window) -> DataLoader[int, Rows]:
        """Load the same window of the histories of all the users it is asked for."""
        if window not in self._histories:

            async def load(user_ids: list[int]) -> list[Rows]:
                by_user: dict[int, list[Any]] = {user_id: [] for user_id in user_ids}
                query = histories(
                    after=window.after is not None,
                    before=window.before is not None,
                    from_end=window.from_end,
                )
                until = await self.settled_until()
                given = window.given() | {"user_ids": list(by_user), "until": until}
                for row in await self.read(query, given):
                    by_user[row.user_id].append(row)
                return [by_user[user_id] for user_id in user_ids]

            self._histories[window] = DataLoader(load, max_batch_size=_MAX_BATCH, cache=False)
        return self._histories[window]

    def _loader(self, statement: Select[Any]) -> Loader:
        return Loader(self._database.reader.lookup(statement), self._turns)


async def _always() -> bool:
    return True


GraphInfo = Info[Context, None]
