"""Connections to PostgreSQL outside the pool: one for NOTIFY and one for LISTEN.

They neither wait for a request's connection nor occupy one. Each statement has a short timeout,
because a network that drops packets reports no error: a connection can be dead although it is open.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Final

import asyncpg

from db.postgres import check_writable
from db.timing import DEFAULT, Timing

_CHANNEL: Final = "roster_events"

Connect = Callable[[], Awaitable[asyncpg.Connection]]
Ask = Callable[[asyncpg.Connection], Awaitable[None]]


class SideConnection:
    """A connection that is opened on demand, and replaced after an error and at `max_age`."""

    def __init__(self, connect: Connect, max_age: float = inf, timing: Timing = DEFAULT) -> None:
        self._connect = connect
        self._timing = timing
        self._max_age = max_age
        self._lock = asyncio.Lock()
        self._driver: asyncpg.Connection | None = None
        self._until = 0.0  # expiry, on the monotonic clock

    async def run(self, ask: Ask) -> None:
        """Run an idempotent statement.

        If it fails on an existing connection, retry it on a new one.
        """
        async with self._lock:
            if self._is_open():
                with suppress(Exception):  # the new connection raises a persistent error again
                    await self._ask(ask)
                    return
            await self.close()
            self._driver = await self._connect()
            self._until = time.monotonic() + self._max_age
            await self._ask(ask)

    def _is_open(self) -> bool:
        if self._driver is None or self._driver.is_closed():
            return False
        return time.monotonic() < self._until

    async def _ask(self, ask: Ask) -> None:
        assert self._driver
        try:
            async with asyncio.timeout(self._timing.answer):
                await ask(self._driver)
        except BaseException:
            self._driver.terminate()  # closes without waiting: no statement needs to be cancelled
            raise

    def discard(self) -> None:
        self._until = 0.0

    async def close(self) -> None:
        if self._driver is not None:
            await close(self._driver, self._timing)


async def notify(driver: asyncpg.Connection, *, sender: str) -> None:
    await driver.fetch("SELECT pg_notify($1, $2)", _CHANNEL, sender)


@asynccontextmanager
async def listening(
    connect: Connect,
    heard: Callable[[str], None],
    max_age: float = inf,
    timing: Timing = DEFAULT,
) -> AsyncIterator[asyncio.Event]:
    """Listen on a separate connection. Yields an event that is set when the connection is lost."""
    lost = asyncio.Event()
    driver = await connect()
    try:
        driver.add_termination_listener(lambda _: lost.set())
        async with asyncio.timeout(timing.answer):
            await driver.add_listener(_CHANNEL, lambda *told: heard(told[-1]))
        beating = asyncio.create_task(_beat(driver, time.monotonic() + max_age, timing))
        try:
            yield lost
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
    finally:
        await close(driver, timing)


async def _beat(driver: asyncpg.Connection, until: float, timing: Timing) -> None:
    """Check periodically that the server is still the primary; otherwise end the connection.

    A standby does not forward notifications.
    """
    with suppress(Exception):  # after any error the connection ends, which notifies the listener
        while time.monotonic() < until:
            await asyncio.sleep(timing.heartbeat)
            async with asyncio.timeout(timing.answer):
                await check_writable(driver)
    driver.terminate()


async def close(driver: asyncpg.Connection, timing: Timing) -> None:
    with suppress(Exception):  # asyncpg drops a connection that it cannot close
        await driver.close(timeout=timing.close)
