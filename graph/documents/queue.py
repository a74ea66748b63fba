"""The queue in which new documents are parsed, analysed and validated."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

# The pause after a slow document, as a fraction of its processing time. The event loop serves other
# requests during the pause.
_PAUSE: Final = 0.1
_LONG: Final = 0.005  # seconds


class FairQueue:
    """Processes new documents one at a time, with pauses in which other requests are served.

    A hostile document takes up to 50 ms of the process. The documents of one caller queue behind
    each other first, so a caller who sends many delays any other caller by one document only.
    Cached documents do not enter the queue.
    """

    def __init__(self) -> None:
        self._reading = asyncio.Lock()
        self._callers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        own = self._callers.setdefault(caller, asyncio.Lock())
        async with own, self._reading:
            began = time.monotonic()
            try:
                yield
            finally:
                took = time.monotonic() - began
                # A request needs several iterations of the event loop to complete.
                await asyncio.sleep(took * _PAUSE if took > _LONG else 0)
