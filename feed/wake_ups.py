"""Wakes the feeds of all processes after a commit. Wake-ups are hints: a slow poll needs none."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Final
from uuid import uuid4

import structlog

from db.engine import Database
from db.error_summary import summarize
from db.errors import is_unreachable

log = structlog.get_logger("roster")

_NOTIFY_SECONDS: Final = 0.02  # minimum between two notifications


class WakeUps:
    """Those of one feed: a signal in this process, and PostgreSQL's notifications for others."""

    def __init__(self, database: Database, retry_seconds: float) -> None:
        self._database = database
        self._retry_seconds = retry_seconds
        self._name = uuid4().hex
        self._signal = asyncio.Event()
        self._must_notify = False
        self._notify_task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        # Events may have been committed: poll now, and notify other processes.
        self._signal.set()
        if self._database.is_sqlite:
            return
        self._must_notify = True
        if self._notify_task is None or self._notify_task.done():
            self._notify_task = create_background_task(self._notify_loop())

    def clear(self) -> None:
        self._signal.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for a wake-up since `clear`, at most for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signal.wait()

    async def listen(self) -> None:
        # Notifications come from other processes. Without a connection, polls find their events.
        while True:
            try:
                async with self._database.listening(self._on_notification) as lost:
                    self._signal.set()  # notifications may have been missed
                    await lost.wait()
            except Exception as error:  # noqa: BLE001 - the loop survives any database error
                log_outage(error)
            await asyncio.sleep(self._retry_seconds)

    async def close(self) -> None:
        if self._notify_task:
            self._notify_task.cancel()
            await asyncio.gather(self._notify_task, return_exceptions=True)

    def _on_notification(self, sender: str) -> None:
        if sender != self._name:
            self._signal.set()

    async def _notify_loop(self) -> None:
        while self._must_notify:
            self._must_notify = False
            pause = _NOTIFY_SECONDS
            try:
                await self._database.notify(self._name)
            except Exception as error:  # noqa: BLE001 - the loop survives any database error
                log_outage(error)
                self._must_notify = is_unreachable(error)  # repeat when it is reachable again
                pause = self._retry_seconds
            await asyncio.sleep(pause)


def create_background_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # It outlives the request that starts it, and is no part of its trace.
    return asyncio.create_task(work, context=Context())


def log_outage(error: Exception) -> None:
    if is_unreachable(error):
        log.warning("the feed waits for the database", cause=summarize(error))
    else:
        log.error("feed iteration failed", exc_info=error)
