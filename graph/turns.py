"""Turns at the one connection of an operation."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Turns:
    """Lets one at a time be alone, or any number share a turn, never both.

    Whoever shares goes first: they come together, and one statement answers them all.
    """

    def __init__(self) -> None:
        self._alone = False
        self._sharing = 0
        self._to_share: deque[asyncio.Future[None]] = deque()
        self._to_be_alone: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def share(self, ask: Callable[[Any], Awaitable[T]], key: object) -> T:
        with self._known():
            if self._alone:
                await self._call(self._to_share, self._leave_share)
            else:
                self._sharing += 1
            try:
                return await ask(key)
            finally:
                self._leave_share()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        with self._known():
            if self._alone or self._sharing:
                await self._call(self._to_be_alone, self._leave_alone)
            else:
                self._alone = True
            try:
                yield
            finally:
                self._leave_alone()

    async def end(self) -> None:
        """End all that have a turn or wait for one, but for whoever asks for this."""
        left = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    @contextmanager
    def _known(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task  # or nothing could be awaited
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

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

    def _leave_share(self) -> None:
        self._sharing -= 1
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
