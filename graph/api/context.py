"""The context that the resolvers of one operation share."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strawberry import Info
from strawberry.dataloader import DataLoader

from db.session import Session
from feed.feed import Feed
from users.identity import UsernameEmails
from users.key_cache import KeyCache
from users.policy import Caller

if TYPE_CHECKING:
    from db.outcome import Write
    from graph.observation import ObservedOperation

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# A statement has at most 32,767 parameters on either database.
_MAX_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The seconds that a mutation may take, and its deadline by the clock of the event loop."""

    seconds: float = inf
    deadline: float | None = None

    def is_over(self) -> bool:
        return self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline


class Context:
    """The context of one operation: its session, the feed and the caller."""

    def __init__(
        self,
        session: Session,
        feed: Feed,
        caller: Caller,
        request_id: str,
        address: str = "",
        token: str | None = None,
        still: Callable[[], Awaitable[bool]] | None = None,
        username_emails: UsernameEmails = UsernameEmails.OWN,
    ) -> None:
        self.session = session
        self.feed = feed
        self.caller = caller
        self.request_id = request_id
        self.address = address
        self.token = token
        self.is_still_let_in = still or _always
        self.username_emails = username_emails
        self.last_event_id: str | None = None  # the cursor with which an EventSource reconnects
        self.asked_position: str | None = None  # the position that a query must show
        self.position: str | None = None  # what the response shows, if the client is told
        self.limit = TimeLimit()
        self.observed: ObservedOperation | None = None  # None without observers
        # Called when a subscription has its position: all later events are delivered.
        self.on_begun: Callable[[], object] | None = None
        self.writes: dict[str, Write] = {}  # of a mutation, by response name

    @property
    def throttled_as(self) -> str:
        """The key under which requests are counted for rate limits."""
        actor = self.caller.actor
        return self.address if actor.id is None else f"{actor.kind} {actor.id}"

    @cached_property
    def keys(self) -> KeyCache:
        return KeyCache()

    def dataloader(
        self,
        key: Hashable,
        load: Callable[[list[K]], Awaitable[Sequence[V]]],
        *,
        cache: bool = False,
    ) -> DataLoader[K, V]:
        """Return the dataloader of this operation with a key. The first call creates it."""
        found = self._dataloaders.get(key)
        if found is None:
            found = DataLoader(load, max_batch_size=_MAX_BATCH, cache=cache)
            self._dataloaders[key] = found
        return found

    @cached_property
    def _dataloaders(self) -> dict[Hashable, DataLoader[Any, Any]]:
        return {}


async def _always() -> bool:
    return True


GraphInfo = Info[Context, None]
