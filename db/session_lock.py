"""SessionLock at the one connection of an operation."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class SessionLock:
    """Lets one at a time be alone, or any number share a turn, never both.

    Whoever shares goes first: they come together, and one statement answers them all.
    """

    def __init__(self) -> None:
        self._alone = False
        self._sharing = 0
        self._to_share: deque[asyncio.Future[None]] = deque()
        self._to_be_alone: deque[asyncio.Future[None]] = deque()
        self._held: set[asyncio.Future[Any]] = set()

    def share(self, ask: Callable[[Any], "asyncio.Future[T]"], key: object) -> "asyncio.Future[T]":
        """Ask as soon as there is a turn to share; it is over when the answer is there."""
        if self._alone:
            asked: asyncio.Future[T] = asyncio.create_task(self._ask_later(ask, key))
            asked.add_done_callback(self._held.discard)
        else:
            self._sharing += 1
            asked = ask(key)
            asked.add_done_callback(self._leave_share)
        self._held.add(asked)
        return asked

    async def _ask_later(self, ask: Callable[[Any], Awaitable[T]], key: object) -> T:
        await self._call(self._to_share, self._share_less)
        try:
            return await ask(key)
        finally:
            self._share_less()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task  # or nothing could be awaited
        self._held.add(task)
        try:
            if self._alone or self._sharing:
                await self._call(self._to_be_alone, self._leave_alone)
            else:
                self._alone = True
            try:
                yield
            finally:
                self._leave_alone()
        finally:
            self._held.discard(task)

    async def end(self) -> None:
        """End all that have a turn or wait for one, but for whoever asks for this."""
        left = [held for held in self._held if held is not asyncio.current_task()]
        for held in left:
            held.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _call(self, queue: deque[asyncio.Future[None]], leave: Callable[[], None]) -> None:
        """Wait to be called; whoever calls has taken the turn for us."""
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if not called.cancelled():
                leave()
            raise

    def _leave_share(self, asked: "asyncio.Future[Any]") -> None:
        self._held.discard(asked)
        self._share_less()

    def _share_less(self) -> None:
        self._sharing -= 1
        if not self._sharing:
            self._call_next()

    def _leave_alone(self) -> None:
        self._alone = False
        self._call_next()

    def _call_next(self) -> None:
        if self._sharing or self._alone:
            return
        while self._to_share:
            self._sharing += _reach(self._to_share.popleft())
        while self._to_be_alone and not (self._sharing or self._alone):
            self._alone = _reach(self._to_be_alone.popleft())


def _reach(called: asyncio.Future[None]) -> bool:
    """Call somebody; tell whether they were still waiting."""
    if called.done():
        return False
    called.set_result(None)
    return True
