"""Batched lookups by key: keys that several operations request together share one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

Read = Callable[[list[Any]], Awaitable[Sequence[Any]]]  # keys -> rows, each with its `key`

MAX_KEYS: Final = 1_000  # keys of a statement; the last caller may exceed it
AT_ONCE: Final = 2  # concurrent statements of one lookup


class KeyLookup:
    """Find rows by one kind of key, for the whole process. Nothing is cached.

    A single key is sent in the current iteration of the event loop. While the maximum number of
    statements runs, further keys collect in the next batch, so batches grow with the load. A key
    never joins a statement that has started: a caller sees everything that was committed before its
    call.
    """

    def __init__(self, read: Read, max_keys: int = MAX_KEYS) -> None:
        self._read = read
        self._max_keys = max_keys
        self._next: _Batch | None = None
        self._full: list[_Batch] = []
        self._running: dict[asyncio.Task[None], _Batch] = {}

    def load(self, keys: Sequence[Any]) -> "asyncio.Future[list[Any]]":
        """Return a future of the rows in the order of the keys, with None for a key without a row.

        A caller that no longer needs the rows cancels the future and awaits `end_unwanted`.
        """
        batch = self._next or self._gather()
        found = batch.loop.create_future()
        batch.asked.append((found, keys))
        batch.size += len(keys)
        if batch.size >= self._max_keys:
            self._full.append(batch)
            self._next = None
        return found

    async def end_unwanted(self) -> None:
        """Cancel the statements without waiting callers, and wait until they have ended."""
        unwanted = [task for task, batch in self._running.items() if not batch.is_wanted()]
        for task in unwanted:
            task.cancel()
        await asyncio.gather(*unwanted, return_exceptions=True)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _gather(self) -> "_Batch":
        loop = asyncio.get_running_loop()
        self._next = batch = _Batch(loop)
        loop.call_soon(self._send)  # after every ready task has added its keys
        return batch

    def _send(self) -> None:
        while len(self._running) < AT_ONCE and (batch := self._take()):
            if batch.is_wanted():
                task = asyncio.create_task(batch.run(self._read))
                self._running[task] = batch
                task.add_done_callback(self._ended)

    def _take(self) -> "_Batch | None":
        if self._full:
            return self._full.pop(0)
        batch, self._next = self._next, None
        return batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._send()


class _Batch:
    """The keys of one statement, and the futures of their callers."""

    __slots__ = ("asked", "loop", "size")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked: list[tuple[asyncio.Future[list[Any]], Sequence[Any]]] = []
        self.loop = loop
        self.size = 0

    def is_wanted(self) -> bool:
        return any(not found.done() for found, _ in self.asked)

    async def run(self, read: Read) -> None:
        asked = [(found, keys) for found, keys in self.asked if not found.done()]
        try:
            wanted = list(dict.fromkeys([key for _, keys in asked for key in keys]))
            rows = {row.key: row for row in await read(wanted)}
        except asyncio.CancelledError:
            for found, _ in asked:
                found.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - `set_exception` raises it in every caller
            for found, _ in asked:
                if not found.done():
                    found.set_exception(error)
            return
        for found, keys in asked:
            if not found.done():
                found.set_result([rows.get(key) for key in keys])
