"""Graceful shutdown: requests in progress get a grace period. After it, they fail with an error."""

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
from types import FrameType, TracebackType
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
    """Tracks the tasks in progress. The grace period of `seconds` begins with the signal."""

    def __init__(self, seconds: float) -> None:
        self.has_begun = False
        self.is_over = False
        self._seconds = seconds
        self.running: set[Task[Any]] = set()
        self.interrupted: Counter[Task[Any]] = Counter()
        self._listeners: set[Callable[[], None]] = set()

    def begin(self) -> None:
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
        self.has_begun = self.is_over = False  # a lifespan can start again in the same process

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
def before_shutdown(stop: Callable[[], None], interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGINT or SIGTERM, and `interrupt` at a later SIGINT.

    The server's own handlers run as well.
    """
    # Signals, not the lifespan: the server ends the lifespan only after all responses have ended,
    # and a stream never ends by itself. At the second SIGINT the server no longer waits.
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        forced = is_stopping and number == signal.SIGINT
        is_stopping = True
        loop.call_soon_threadsafe(interrupt if forced else stop)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    served = [number for number, handler in before.items() if callable(handler)]
    for number in served:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in served:
            signal.signal(number, before[number])
