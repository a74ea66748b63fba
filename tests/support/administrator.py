"""Statements on the PostgreSQL server of the tests."""

import asyncio
from threading import Lock
from typing import Any

import asyncpg


class Administrator:
    """Keeps one connection, because opening it takes more CPU time than most statements."""

    def __init__(self) -> None:
        self._lock = Lock()  # some tests call it in a thread
        self._runner: asyncio.Runner | None = None
        self._connection: Any = None

    def run(self, url: str, *statements: str) -> None:
        with self._lock:
            if self._runner is None:
                # With a factory, the loop does not become that of the thread.
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            self._runner.run(self._execute(url, statements))

    async def _execute(self, url: str, statements: tuple[str, ...]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(url)
        for statement in statements:
            await self._connection.execute(statement)

    def close(self) -> None:
        if self._runner and self._connection:
            self._runner.run(self._connection.close())
            self._runner.close()
