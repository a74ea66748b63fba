"""Ends the statements that wait for a server which is gone without a word.

Where a network drops packets, TCP reports that within seconds (`db.postgres`). It reports nothing
where a proxy, a pooler or the server itself is frozen: what takes the data acknowledges it, and a
statement waits until its own limit, and with it the connection, and all who wait for one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from db.pool import FairPool

log = structlog.get_logger("roster")

_TICK_SECONDS: Final = 1.0
_STILL_TICKS: Final = 2  # in which no statement has ended: then the server is asked
_VERDICT_SECONDS: Final = 4.0  # at most: to connect has a limit of its own
# A tick that took so much longer says that this process stood still, and nothing of the server.
_LAG_SECONDS: Final = 1.0


class Watchdog:
    """Watches a pool. While statements end, or none runs, it does nothing.

    `knock` connects to the server, and raises TimeoutError if there is no answer.
    """

    def __init__(self, pool: Callable[[], FairPool], knock: Callable[[], Awaitable[None]]) -> None:
        self._pool = pool
        self._knock = knock
        self._still = 0  # ticks without progress
        self._progress = -1

    async def run(self) -> None:
        while True:
            if await _stalls(asyncio.sleep(_TICK_SECONDS), _TICK_SECONDS):
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
        """Give up all connections, if no other one can be made either."""
        self._still = 0
        knocking = asyncio.create_task(self._answers())
        try:
            waiting = asyncio.wait({knocking}, timeout=_VERDICT_SECONDS)
            if await _stalls(waiting, _VERDICT_SECONDS) or (knocking.done() and knocking.result()):
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
        except Exception:  # noqa: BLE001 - an error is an answer, or is reported on every connection
            return True
        return True


async def _stalls(waiting: Awaitable[Any], seconds: float) -> bool:
    """Wait, and return whether that took so long that this process itself must have stood still."""
    begun = time.monotonic()
    await waiting
    return time.monotonic() - begun > seconds + _LAG_SECONDS
