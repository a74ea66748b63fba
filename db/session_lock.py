"""The lock of a session, which serialises the use of its single connection."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class SessionLock:
    """A read-write lock with one exclusive holder or any number of shared holders.

    Shared waiters have priority: they arrive together, and one statement serves them all.
    """

    def __init__(self) -> None:
        self._exclusive = False
        self._sharing = 0
        self._to_share: deque[asyncio.Future[None]] = deque()
        self._to_be_exclusive: deque[asyncio.Future[None]] = deque()
        self._held: set[asyncio.Future[Any]] = set()

    def shared(self, ask: Callable[[Any], "asyncio.Future[T]"], key: object) -> "asyncio.Future[T]":
        """Call `ask` when the lock can be shared; hold it until the returned future is done."""
        if self._exclusive:
            asked: asyncio.Future[T] = asyncio.create_task(self._ask_later(ask, key))
            asked.add_done_callback(self._held.discard)
        else:
            self._sharing += 1
            asked = ask(key)
            asked.add_done_callback(self._stop_sharing)
        self._held.add(asked)
        return asked

    async def _ask_later(self, ask: Callable[[Any], Awaitable[T]], key: object) -> T:
        await self._wait(self._to_share, self._share_less)
        try:
            return await ask(key)
        finally:
            self._share_less()

    def exclusive(self) -> "_Exclusive":
        return _Exclusive(self)

    async def cancel(self) -> None:
        """Cancel all holders and waiters, except the calling task."""
        left = [held for held in self._held if held is not asyncio.current_task()]
        for held in left:
            held.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def acquire(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task  # a coroutine always runs in a task here
        self._held.add(task)
        try:
            if self._exclusive or self._sharing:
                await self._wait(self._to_be_exclusive, self._release)
            else:
                self._exclusive = True
        except BaseException:
            self._held.discard(task)
            raise
        return task

    def release(self, task: asyncio.Task[Any]) -> None:
        self._held.discard(task)
        self._release()

    async def _wait(self, queue: deque[asyncio.Future[None]], leave: Callable[[], None]) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if not woken.cancelled():
                leave()
            raise

    def _stop_sharing(self, asked: "asyncio.Future[Any]") -> None:
        self._held.discard(asked)
        self._share_less()

    def _share_less(self) -> None:
        self._sharing -= 1
        if not self._sharing:
            self._wake_next()

    def _release(self) -> None:
        self._exclusive = False
        self._wake_next()

    def _wake_next(self) -> None:
        if self._sharing or self._exclusive:
            return
        while self._to_share:
            self._sharing += _wake(self._to_share.popleft())
        while self._to_be_exclusive and not (self._sharing or self._exclusive):
            self._exclusive = _wake(self._to_be_exclusive.popleft())


class _Exclusive:
    # A class: a generator-based context manager takes three times as long, on every read of a list
    # and on every write.
    __slots__ = ("_lock", "_task")
    _task: asyncio.Task[Any]

    def __init__(self, lock: SessionLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        self._task = await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release(self._task)


def _wake(waiter: asyncio.Future[None]) -> bool:
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
