"""The queue of a pool: idle connections, and the callers that wait for one."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.sqlalchemy_adapter import AsyncAdaptedQueue, Empty, Full, await_only

if TYPE_CHECKING:
    from db.observation import DatabaseObserver


class WaiterQueue(AsyncAdaptedQueue[Any]):
    """A FIFO queue of waiters: a returned item goes to the oldest waiter.

    `asyncio.Queue` only wakes the oldest waiter. A newcomer can take the item first, and the waiter
    then queues again at the end: under load for seconds. Items are LIFO, because the most recently
    used connection is warm.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        super().__init__(maxsize, use_lifo)
        self._items: list[Any] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._borrowing: set[asyncio.Future[Any]] = set()  # those of `acquire`
        self.observer: DatabaseObserver | None = None

    def empty(self) -> bool:
        return not self._items

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self._items)

    def qsize(self) -> int:
        return len(self._items)

    def next(self) -> Any | None:
        return self._items[-1] if self._items else None

    def put_nowait(self, item: Any) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(item)
                return
        if self.full():
            raise Full
        self._items.append(item)

    def get_nowait(self) -> Any:
        if not self._items:
            raise Empty
        return self._items.pop()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        if self._items or not block:
            return self.get_nowait()
        return await_only(self.wait(timeout))

    async def wait(self, seconds: float | None, lent: Callable[[Any], None] | None = None) -> Any:
        """Wait for a returned item. Raises Empty after the timeout.

        With `lent`, the waiter also accepts an acquired connection that was not checked in. `lent`
        takes it back if the waiter is cancelled.
        """
        end = self.observer.begin_wait() if self.observer else None
        try:
            given = await self._wait(seconds, lent)
        except BaseException as error:
            if end:
                end(PoolTimeoutError() if isinstance(error, Empty) else error)
            raise
        if end:
            end(None)
        return given

    async def _wait(self, seconds: float | None, lent: Callable[[Any], None] | None) -> Any:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if lent:
            self._borrowing.add(turn)
        timer = None if seconds is None else loop.call_later(seconds, _expire, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                given = turn.result()
                if lent and isinstance(given, PoolProxiedConnection):
                    lent(given)
                else:
                    self.put_nowait(given)
            raise
        finally:
            self._borrowing.discard(turn)
            if timer:
                timer.cancel()

    def lend(self, lent: PoolProxiedConnection) -> bool:
        """Hand an acquired connection to the oldest waiter.

        Returns whether that waiter accepts one.
        """
        if not (self.is_waited_for and self._waiting[0] in self._borrowing):
            return False
        self._waiting.popleft().set_result(lent)
        return True

    @property
    def is_waited_for(self) -> bool:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        return bool(self._waiting)

    def waiting(self) -> int:
        """Return the number of callers that wait."""
        return sum(not turn.done() for turn in self._waiting)

    def open_items(self) -> int:
        """Return the number of entries that have a connection."""
        return sum(item.dbapi_connection is not None for item in self._items)

    def put_on_top(self, item: Any) -> None:
        """Put back an item that the caller takes again before it awaits anything."""
        self._items.append(item)


def _expire(turn: "asyncio.Future[Any]") -> None:
    if not turn.done():
        turn.set_exception(Empty())
