"""Subscribers who ask the same, in one place of the feed: one task gives to all of them.

It makes their frames once and writes them to each socket, so that news wakes one task, not all. A
subscriber whose socket doesn't take what it is sent leaves, goes on by themselves, and comes back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from feed.anchors import InvalidAnchor
from feed.reader import Event
from feed.subscription import FeedPosition
from graph.api.errors import SessionEnded
from graph.api.subscriptions import EventSubscription
from graph.streaming.chunks import ResultBatch

log = structlog.get_logger("roster")

Make = Callable[[FeedPosition, Sequence[Event]], Awaitable[Sequence[ResultBatch]]]
Write = Callable[[ResultBatch], bool]  # tells whether they were taken

_SLICE: Final = 16  # sockets that are written to before others have a turn


class FanOut:
    """All groups of this process, each by what its members ask."""

    def __init__(self) -> None:
        self._groups: dict[bytes, _Topic] = {}

    async def accompany(
        self,
        asked: bytes,
        make: Make,
        write: Write,
        following: EventSubscription,
        place: FeedPosition,
    ) -> None:
        """Have what comes given to a subscriber, until it is not taken or the feed is over.

        Leaves their place behind what they were given, and returns at once where they have to catch
        up first. Raises SessionEnded when their rights end.
        """
        if not place.is_shareable:
            return
        group = self._groups.get(asked)
        if group is None or group.task.done():
            group = self._groups[asked] = _Topic(place.copy(), make)
        if place.position < group.place.position:
            return
        member = _Subscriber(following, write, place)
        group.members[member] = None
        try:
            why = await member.leaving
        finally:
            group.members.pop(member, None)
            if not group.members and self._groups.get(asked) is group:
                del self._groups[asked]
                group.task.cancel()
        if why:
            raise why


class _Subscriber:
    """Who has been given all that matches, up to their place."""

    def __init__(self, following: EventSubscription, write: Write, place: FeedPosition) -> None:
        self.following = following
        self.place = place
        self.leaving: asyncio.Future[SessionEnded | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._write = write

    def write(self, portions: Sequence[ResultBatch]) -> bool:
        """Give what is behind their place; tell whether all of it was taken."""
        for results in portions:
            rest = results.after(self.place.position)
            if rest.texts and not self._write(rest):
                return False
            self.place.position = max(self.place.position, results.ids[-1])
        return True


class _Topic:
    def __init__(self, place: FeedPosition, make: Make) -> None:
        self.place = place
        self.members: dict[_Subscriber, None] = {}  # in the order in which they came
        self.task = asyncio.create_task(self._run())
        self._given = place.position  # up to where every member has been given all
        self._make = make

    async def _run(self) -> None:
        try:
            while not self.place.is_closed:
                if events := await self.place.read():
                    # Who comes from here on has had these: nothing was awaited since.
                    await self._give(list(self.members), events)
                self._given = self.place.position
                await self.place.wait()
        except InvalidAnchor:
            pass  # of which each member's own place tells, too
        except Exception:
            log.exception("delivery to a topic failed")
        finally:  # and all go on by themselves
            for member in list(self.members):
                self._leave(member)

    async def _give(self, members: Sequence[_Subscriber], events: Sequence[Event]) -> None:
        portions = await self._make(self.place, events)
        if self.place.is_stale:  # a user was erased meanwhile, and these may be their values
            self.place.rewind(self._given)
            return
        let_in: dict[str | None, bool] = {}
        for following in (member.following for member in members):
            if following.token not in let_in:
                let_in[following.token] = await following.is_still_let_in()
        for n, member in enumerate(members):
            if n % _SLICE == 0:
                await asyncio.sleep(0)
            if member not in self.members:
                continue
            if not (let_in[member.following.token] and member.following.has_rights()):
                self._leave(member, SessionEnded())
            elif not member.write(portions):
                self._leave(member)

    def _leave(self, member: _Subscriber, why: SessionEnded | None = None) -> None:
        del self.members[member]
        member.place.position = max(member.place.position, self._given)
        if not member.leaving.done():  # cancelled, and not heard of it yet
            member.leaving.set_result(why)
