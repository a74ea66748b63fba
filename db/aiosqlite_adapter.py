"""The only module that uses aiosqlite's internals: undocumented names that can change.

`tests/db/test_aiosqlite_adapter.py` fails if a release changes one of them.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import aiosqlite

T = TypeVar("T")

_INTERRUPT_SECONDS: Final = 0.05
_ROWS_A_FETCH: Final = 64  # aiosqlite's default for a cursor that is iterated over


class Connection(aiosqlite.Connection):
    """A connection that closes the file in every case, and whose `stop` can be called twice.

    aiosqlite leaves a file open that its thread opens after the task that connects was cancelled.

    Closing a connection ends with `stop`. If closing after a cancelled statement is itself
    cancelled, SQLAlchemy has already stopped the thread. Nothing would answer a second `stop`, and
    its task would wait until the process ends. The second call returns the first future.
    """

    _stopping: asyncio.Future[Any] | None = None
    _file: sqlite3.Connection | None = None

    def __init__(
        self, open_file: Callable[[], sqlite3.Connection], closing: set[asyncio.Future[Any]]
    ) -> None:
        super().__init__(self._open, _ROWS_A_FETCH)
        self._open_file = open_file
        self._closing = closing
        self._thread.daemon = True  # SQLAlchemy's own connect does the same

    def _open(self) -> sqlite3.Connection:
        self._file = self._open_file()
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        done: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite is untyped here
        return done

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopping is None:
            self._tx.put_nowait((None, self._close))
            self._stopping = super().stop()
            if self._stopping is not None:
                self._closing.add(self._stopping)
                self._stopping.add_done_callback(self._closing.discard)
        return self._stopping

    def give_up(self) -> None:
        """Interrupt the running statement, repeatedly, until the connection is closed.

        SQLite ignores an interrupt that arrives before the statement has started, so one is not
        enough.
        """
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # the connection is being closed
                self._connection.interrupt()
                asyncio.get_running_loop().call_later(_INTERRUPT_SECONDS, self.give_up)


class Opener:
    """Opens the connections of an engine; `open_file` replaces `sqlite3.connect`."""

    def __init__(self, open_file: Callable[..., sqlite3.Connection]) -> None:
        self._open_file = open_file
        self._closing: set[asyncio.Future[Any]] = set()

    def connect(self, *arguments: Any, **options: Any) -> Connection:
        """Return the awaitable that SQLAlchemy expects."""
        return Connection(lambda: self._open_file(*arguments, **options), self._closing)

    async def wait_closed(self) -> None:
        """Wait for the threads of connections that are being closed.

        Nothing else awaits them if opening the file failed, or if its task was cancelled. A thread
        that outlives the event loop cannot deliver its result, and prints a traceback.
        """
        loop = asyncio.get_running_loop()
        if closing := [future for future in self._closing if future.get_loop() is loop]:
            await asyncio.wait(closing)
