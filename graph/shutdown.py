"""Graceful shutdown, in three phases.

1. The drain period begins with SIGTERM. Readiness fails, so that balancers choose other servers.
   New requests are served, and each response closes its connection.
2. In the grace period no connections are accepted, and requests in progress can complete.
3. Requests that are still in progress fail with an error.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from asyncio import Task
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from graph.protocol.errors import RequestError

SEND_AGAIN: Final = "The server is shutting down and did not complete this request. Send it again."
MAY_BE_DONE: Final = (
    "The server is shutting down and interrupted this request. Its changes may have been made: "
    "check them, or send it again with the same idempotency key."
)
# Seconds between the end of the grace period and the closing of the remaining connections.
SHUTDOWN_MARGIN: Final = 2
# Time for interrupted tasks to end their transactions. Tasks that still run are interrupted again:
# an SQLite statement that waits for another process's lock cannot be interrupted while it waits.
_CLEANUP_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def shutting_down(message: str = SEND_AGAIN) -> RequestError:
    return RequestError("SHUTTING_DOWN", message, 503, {"retry-after": "1"})


class Shutdown:
    """Tracks the phase and the tasks in progress. `seconds` is the length of the grace period."""

    def __init__(self, seconds: float) -> None:
        self.is_draining = False  # stays true in the later phases
        self.has_begun = False
        self.is_over = False
        self._seconds = seconds
        self.running: set[Task[Any]] = set()
        self.interrupted: Counter[Task[Any]] = Counter()
        self._listeners: set[Callable[[], None]] = set()

    def drain(self) -> None:
        self.is_draining = True

    def begin(self) -> None:
        """Begin the grace period."""
        self.is_draining = True
        if self.has_begun:
            return
        self.has_begun = True
        for listener in list(self._listeners):
            listener()
        asyncio.get_running_loop().call_later(self._seconds, self.interrupt)

    @contextmanager
    def announced_to(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call the listener when the grace period begins, or immediately if it has begun."""
        self._listeners.add(listener)
        try:
            if self.has_begun:
                listener()
            yield
        finally:
            self._listeners.discard(listener)

    def interruptible(self) -> "Interruptible":
        """Return a context manager whose block is interrupted at the end of the grace period.

        The block then raises RequestError. Later blocks raise it on entry.
        """
        return Interruptible(self)

    def check(self) -> None:
        """Raise RequestError after the grace period."""
        if self.is_over:
            raise shutting_down()

    def has_interrupted(self) -> bool:
        return asyncio.current_task() in self.interrupted

    async def finish(self) -> None:
        """Interrupt the remaining tasks and wait for them. Call it before their resources close."""
        self.interrupt()
        if self.running:
            await asyncio.wait(self.running, timeout=_CLEANUP_SECONDS)
        self.is_draining = self.has_begun = self.is_over = (
            False  # a lifespan can start again in the same process
        )

    def interrupt(self) -> None:
        self.is_over = True
        for task in self.running:
            self.interrupted[task] += 1
            task.cancel()
        if self.running:
            asyncio.get_running_loop().call_later(_CLEANUP_SECONDS, self.interrupt)


class Interruptible:
    # A class: a generator-based context manager takes three times as long, on every request.
    __slots__ = ("_is_outermost", "_shutdown", "_task")
    _task: Task[Any]

    def __init__(self, shutdown: Shutdown) -> None:
        self._shutdown = shutdown

    def __enter__(self) -> None:
        shutdown = self._shutdown
        shutdown.check()
        task = asyncio.current_task()
        assert task
        self._task = task
        self._is_outermost = task not in shutdown.running
        shutdown.running.add(task)

    def leave(self) -> None:
        """Make the rest of the block uninterruptible."""
        if self._is_outermost:
            self._shutdown.running.discard(self._task)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
        shutdown, task = self._shutdown, self._task
        if times := shutdown.interrupted.pop(task, 0):
            for _ in range(times):
                task.uncancel()
            if kind is asyncio.CancelledError:
                raise shutting_down() from None


def stop_with_parent(seconds: float) -> None:
    """Stop this worker process when its supervisor dies. Kill it if it still runs after `seconds`.

    Without effect in a process that has no supervisor.
    """
    # A supervisor that was killed cannot stop its workers. They would keep the port, and serve old
    # settings beside the next server.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


@contextmanager
def on_signals(shutdown: Shutdown, drain_seconds: float) -> Iterator[None]:
    """Go through the phases of the shutdown on signals.

    SIGTERM begins the drain period. A second signal, or SIGINT, ends it. One more SIGINT ends the
    grace period. The server's own handlers run at the end of the drain period, and for each later
    signal.
    """
    # Signals, not the lifespan: the server ends the lifespan only after all responses have ended,
    # and a stream never ends by itself. At the second SIGINT the server no longer waits.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    served = {number: handler for number, handler in handlers.items() if callable(handler)}

    def stop(number: int) -> None:
        if not shutdown.has_begun:
            shutdown.begin()
            served[signal.Signals(number)](number, None)

    def handle(number: int) -> None:
        if number == signal.SIGTERM and drain_seconds and not shutdown.is_draining:
            shutdown.drain()
            loop.call_later(drain_seconds, stop, number)
        elif not shutdown.has_begun:
            stop(number)
        else:
            if number == signal.SIGINT:
                shutdown.interrupt()
            served[signal.Signals(number)](number, None)

    for number in served:
        signal.signal(number, lambda number, _: loop.call_soon_threadsafe(handle, number))
    try:
        yield
    finally:
        for number, handler in served.items():
            signal.signal(number, handler)
