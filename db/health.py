"""The health check: whether the database answers and accepts writes.

It has a connection of its own. A request's connection says nothing while it is in use, and a health
check must not keep one from a request.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Final, Protocol

import asyncpg

from db import postgres, sqlite
from db.errors import ReadOnlyError, is_read_only
from db.notifications import Connect, SideConnection
from db.timing import DEFAULT, Timing

_LEAST_FREE: Final = 1024 * 1024  # bytes, for SQLite's log


class Probe(Protocol):
    async def __call__(self) -> None:
        """Raise an error if the database does not answer, or accepts no writes."""

    def discard(self) -> None:
        """Use a new connection next time."""

    async def close(self) -> None: ...


class HealthCheck:
    """Runs one probe at a time. Concurrent callers share it and wait at most two seconds."""

    def __init__(self, probe: Probe, timing: Timing = DEFAULT) -> None:
        self._probe = probe
        self._timing = timing
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
        running = self._running
        # The probe is not cancelled: the cleanup could take another two seconds.
        await asyncio.wait({running}, timeout=self._timing.health_check)
        if not running.done():
            raise TimeoutError("the database does not answer")
        running.result()

    async def _run(self) -> None:
        await self._probe()

    def discard(self) -> None:
        self._probe.discard()

    async def close(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running}, timeout=self._timing.health_check)
        await self._probe.close()


class ServerProbe:
    """Asks PostgreSQL. `on_read_only` is called if a connection turns out to be read-only."""

    def __init__(
        self,
        connect: Connect,
        on_read_only: Callable[[ReadOnlyError], object],
        max_age: float = inf,
        timing: Timing = DEFAULT,
    ) -> None:
        self._own = SideConnection(connect, max_age, timing)
        self._on_read_only = on_read_only

    async def __call__(self) -> None:
        await self._own.run(self._ask)

    async def _ask(self, driver: asyncpg.Connection) -> None:
        try:
            await postgres.check_writable(driver)
        except ReadOnlyError as error:
            # If a new connection accepts writes, those of the requests may lead to the old server.
            self._on_read_only(error)
            raise

    def discard(self) -> None:
        self._own.discard()

    async def close(self) -> None:
        await self._own.close()


class FileProbe:
    """Tries a SQLite file, which is opened for each check: another file may have replaced it.

    `on_read_only` is called if the file accepts no writes: the open connections may never do.
    """

    def __init__(
        self,
        file: sqlite.File,
        on_read_only: Callable[[Exception], object],
        timing: Timing = DEFAULT,
    ) -> None:
        self._file = file
        self._on_read_only = on_read_only
        self._busy_seconds = timing.health_check / 2

    async def __call__(self) -> None:
        connection = self._file.probe()
        async with connection:
            try:
                await connection.run(partial(sqlite.check_writable, seconds=self._busy_seconds))
            except Exception as error:
                if is_read_only(error):
                    self._on_read_only(error)
                raise
            except BaseException:
                connection.give_up()
                raise
            await connection.run(self._check_space)

    def _check_space(self, _: sqlite3.Connection) -> None:
        # SQLite notices it only when a write is committed. This can wait for a disk, so it runs in
        # the connection's thread.
        if shutil.disk_usage(Path(self._file.path).absolute().parent).free < _LEAST_FREE:
            raise ReadOnlyError("the disk is full")

    def discard(self) -> None:
        pass  # nothing stays open

    async def close(self) -> None:
        pass
