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
    """A connection whose `stop` can be called twice: the second call returns the first future.

    Closing a connection ends with `stop`. If closing after a cancelled statement is itself
    cancelled, SQLAlchemy has already stopped the thread. Nothing would answer a second `stop`, and
    its task would wait until the process ends.
    """

    _stopping: asyncio.Future[Any] | None = None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        done: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite is untyped here
        return done

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopping is None:
            self._stopping = super().stop()
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


def connect(
    open_file: Callable[..., sqlite3.Connection], *arguments: Any, **options: Any
) -> Connection:
    """Return the awaitable that SQLAlchemy expects; `open_file` replaces `sqlite3.connect`."""
    connection = Connection(lambda: open_file(*arguments, **options), _ROWS_A_FETCH)
    connection._thread.daemon = True  # noqa: SLF001 - SQLAlchemy's own connect does the same
    return connection
