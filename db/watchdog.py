"""Ends statements that wait for a server that has stopped answering.

If a network drops packets, TCP reports an error within seconds (`db.connector`). If a proxy, a
pooler or the server itself is frozen, TCP reports nothing, because the data is still acknowledged.
The statement then waits until its own timeout and occupies its connection.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from db.pool import PostgresPool
from db.timing import Timing

log = structlog.get_logger("roster")

_STILL_TICKS: Final = 2  # ticks without a completed statement, after which the server is tested
_VERDICT_SECONDS: Final = 4.0  # connecting has its own timeout


class Watchdog:
    """Watches a pool. It does nothing while statements complete or none runs.

    `knock` connects to the server. It raises TimeoutError if there is no answer.
    """

    def __init__(
        self, pool: Callable[[], PostgresPool], knock: Callable[[], Awaitable[None]], timing: Timing
    ) -> None:
        self._tick, self._lag = timing.watchdog_tick, timing.watchdog_lag
        self._pool = pool
        self._knock = knock
        self._still = 0  # ticks without progress
        self._progress = -1

    async def run(self) -> None:
        while True:
            if await self._stalls(asyncio.sleep(self._tick), self._tick):
                self._still = 0
            elif self._is_stuck():
                await self._judge()

    def _is_stuck(self) -> bool:
        pool = self._pool()
        moved = pool.progress != self._progress or not pool.checkedout()
        self._progress = pool.progress
        self._still = 0 if moved else self._still + 1
        return self._still >= _STILL_TICKS

    async def _judge(self) -> None:
        self._still = 0
        knocking = asyncio.create_task(self._answers())
        try:
            waiting = asyncio.wait({knocking}, timeout=_VERDICT_SECONDS)
            if await self._stalls(waiting, _VERDICT_SECONDS):
                return
            if knocking.done() and knocking.result():
                return
        finally:
            knocking.cancel()
        if self._pool().progress != self._progress:
            return
        log.warning("the database answers nothing: all its connections are given up")
        self._pool().give_up()

    async def _answers(self) -> bool:
        try:
            await self._knock()
        except TimeoutError:
            return False
        except Exception:  # noqa: BLE001 - an error is an answer, or every connection reports it
            return True
        return True

    async def _stalls(self, waiting: Awaitable[Any], seconds: float) -> bool:
        """Wait, and return whether that took so long that this process must have been stopped."""
        begun = time.monotonic()
        await waiting
        return time.monotonic() - begun > seconds + self._lag
