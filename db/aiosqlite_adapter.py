"""The only module that uses aiosqlite's internals: undocumented names, which a release can change.

`tests/db/test_aiosqlite_adapter.py` fails if one of them does.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import aiosqlite

T = TypeVar("T")

_INTERRUPT_SECONDS: Final = 0.05
_ROWS_A_FETCH: Final = 64  # of a cursor that is iterated over: aiosqlite's default


class Connection(aiosqlite.Connection):
    """A connection that can be stopped twice.

    SQLAlchemy closes one whose statement was cancelled; where that is cancelled too, it stops the
    thread meanwhile. To the stop with which closing ends nobody would then ever answer: its task
    waited for the rest of the process's life, or was destroyed.
    """

    _stopping: asyncio.Future[Any] | None = None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in the connection's thread."""
        done: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite's own
        return done

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopping is None:
            self._stopping = super().stop()
        return self._stopping

    def give_up(self) -> None:
        """Interrupt until it is closed: what comes before the statement has begun is lost."""
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # it is being closed
                self._connection.interrupt()
                asyncio.get_running_loop().call_later(_INTERRUPT_SECONDS, self.give_up)


def connect(
    open_file: Callable[..., sqlite3.Connection], *arguments: Any, **options: Any
) -> Connection:
    """Return what SQLAlchemy awaits to connect; `open_file` does it for `sqlite3.connect`."""
    connection = Connection(lambda: open_file(*arguments, **options), _ROWS_A_FETCH)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does where it connects itself
    return connection
