"""Delivery to subscribers with the same subscription and position: one task serves all of them.

The task builds the frames once and writes them to each connection, so an event wakes one task
instead of all. A subscriber whose connection refuses a write leaves the topic, delivers on its own
and joins again later.
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
Write = Callable[[ResultBatch], bool]  # returns whether the results were accepted

_SLICE: Final = 16  # connections to write to before other tasks run


class FanOut:
    """All topics of this process, by the key of their subscription."""

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
        """Deliver results to a subscriber until a write is refused or the feed is closed.

        On return, `place` is behind the last delivered event. Returns immediately if the subscriber
        has to catch up with the topic first. Raises SessionEnded when the caller's rights end.
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
    """A member of a topic. It has received all matching events up to `place`."""

    def __init__(self, following: EventSubscription, write: Write, place: FeedPosition) -> None:
        self.following = following
        self.place = place
        self.leaving: asyncio.Future[SessionEnded | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._write = write

    def write(self, portions: Sequence[ResultBatch]) -> bool:
        """Write the results after `place`. Returns whether all of them were accepted."""
        for results in portions:
            rest = results.after(self.place.position)
            if rest.texts and not self._write(rest):
                return False
            self.place.position = max(self.place.position, results.ids[-1])
        return True


class _Topic:
    def __init__(self, place: FeedPosition, make: Make) -> None:
        self.place = place
        self.members: dict[_Subscriber, None] = {}  # in the order of joining
        self.task = asyncio.create_task(self._run())
        self._given = place.position  # all members have received everything up to here
        self._make = make

    async def _run(self) -> None:
        try:
            while not self.place.is_closed:
                if events := await self.place.read():
                    # Members that join later have received these events: there is no await between.
                    await self._give(list(self.members), events)
                self._given = self.place.position
                await self.place.wait()
        except InvalidAnchor:
            pass  # each subscriber's own position raises it too
        except Exception:
            log.exception("delivery to a topic failed")
        finally:  # all members continue on their own
            for member in list(self.members):
                self._leave(member)

    async def _give(self, members: Sequence[_Subscriber], events: Sequence[Event]) -> None:
        portions = await self._make(self.place, events)
        if self.place.is_stale:  # a user was erased meanwhile, whose values these may be
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
        if not member.leaving.done():  # otherwise the waiting task is cancelled but has not run yet
            member.leaving.set_result(why)
