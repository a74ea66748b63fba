"""The signals that end a server, heard before it begins to end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def before_shutdown(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` as soon as the server is told to end, and let its own handlers go on.

    A server waits for its answers to end before the application hears of anything, and a stream
    has no end of its own.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
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
