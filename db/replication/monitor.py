"""Measures the position of a server, repeatedly and on a connection of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import asyncpg

from db.timing import Timing

M = TypeVar("M")

_INTERRUPTED: Final = "the measurement was interrupted"


class Monitor(Generic[M]):
    """Measures every `timing.replica_interval`, on request, and after `wake`.

    Measurements are numbered. `begun` and `done` are the numbers of the last that has begun and of
    the last that was completed: a measurement with a number above `begun` begins later than now.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        ask: Callable[[asyncpg.Connection], Awaitable[M]],
        timing: Timing,
        *,
        on_connected: Callable[[], None],
        on_measured: Callable[[M], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self.begun = self.done = 0
        self.begun_at = timing.clock()  # of the last measurement
        self._connect = connect
        self._ask = ask
        self._timing = timing
        self._on_connected = on_connected
        self._on_measured = on_measured
        self._on_failed = on_failed
        self._driver: asyncpg.Connection | None = None
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[M]] = []

    async def measure(self) -> M:
        """Return a measurement that begins after this call. Concurrent callers share one.

        Raises an error immediately if there is no connection.
        """
        if not self.is_connected:
            raise ConnectionError(_INTERRUPTED)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._wake.set()
        async with asyncio.timeout(self._timing.replica_answer):
            measured: M = await waiting
            return measured

    @property
    def is_connected(self) -> bool:
        return self._driver is not None and not self._driver.is_closed()

    def wake(self) -> None:
        self._wake.set()

    def reconnect(self) -> None:
        if self._driver is not None:
            self._driver.terminate()
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                await self._measure_repeatedly()
            except Exception as error:  # noqa: BLE001 - the loop survives any database error
                self._on_failed(error)
            await asyncio.sleep(self._timing.replica_retry)

    async def _measure_repeatedly(self) -> None:
        driver = await self._connect()
        try:
            driver.add_termination_listener(lambda _: self.wake())
            self._on_connected()
            self._driver = driver
            while True:
                await self._measure(driver)
                await self._pause()
        finally:
            self._driver = None
            self._fail_waiting()
            driver.terminate()  # closes without waiting: no statement needs to be completed

    async def _measure(self, driver: asyncpg.Connection) -> None:
        self._wake.clear()
        waiting, self._waiting = self._waiting, []
        self.begun += 1
        self.begun_at = self._timing.clock()
        number = self.begun
        try:
            measured = await self._answer(driver)
            self.done = number
            self._on_measured(measured)
        except BaseException:
            self._waiting += waiting  # `_fail_waiting` ends their wait
            raise
        for each in waiting:
            if not each.done():
                each.set_result(measured)

    async def _answer(self, driver: asyncpg.Connection) -> M:
        asking = asyncio.ensure_future(self._ask(driver))
        try:
            # A wait that takes much longer means that this process was stopped, which says nothing
            # about the server: it gets a second chance.
            if await self._is_stalled(asking):
                await self._is_stalled(asking)
            if not asking.done():
                raise TimeoutError("the server does not answer")
            return asking.result()
        finally:
            asking.cancel()

    async def _is_stalled(self, asking: "asyncio.Future[Any]") -> bool:
        begun = time.monotonic()
        await asyncio.wait({asking}, timeout=self._timing.replica_answer)
        longest = self._timing.replica_answer + self._timing.watchdog_lag
        return time.monotonic() - begun > longest

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.replica_interval):
                await self._wake.wait()
        if not self._waiting:
            # Requests that find no replica wake all monitors: measure at a limited rate.
            await asyncio.sleep(self._timing.replica_pause)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_exception(ConnectionError(_INTERRUPTED))
