"""The queue in which new documents are parsed, measured and validated."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

# The pause after a document that took long, as a part of that time: the event loop runs other
# requests for so long before the next document.
_PAUSE: Final = 0.1
_LONG: Final = 0.005  # seconds


class FairQueue:
    """Processes new documents one at a time, with pauses in which other requests are served.

    A hostile document takes up to 50 ms of the process. Documents of one caller queue behind each
    other first, so that a caller who sends many delays any other caller by one document only. Known
    documents do not enter the queue.
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
                # A request goes through the loop several times until it is answered.
                await asyncio.sleep(took * _PAUSE if took > _LONG else 0)
