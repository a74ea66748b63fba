"""The signals that end a server, heard before it begins to end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def before_shutdown(stop: Callable[[], None], interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first signal, and `interrupt` at a Ctrl-C after it.

    The server's own handlers run as well. A server waits for its answers to end before it tells the
    application anything, and a stream has no end of its own. At the second Ctrl-C it waits no more.
    """
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
