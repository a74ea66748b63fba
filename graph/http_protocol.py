"""uvicorn's HTTP protocol, and one limit more: how long the head of a request can be.

Its parser takes headers for as long as somebody sends them, and keeps them all.
"""

from asyncio import BaseTransport
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Beyond what comes with the first read, which is bounded itself. A token has 8 KiB at most.
MAX_HEAD: Final = 64 * 1024


class HTTPProtocol(HttpToolsProtocol):
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # it wants uvicorn's own kind
        self._in_head = False
        self._head = 0

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        super().data_received(data)
        if not (was_in_head and self._in_head):
            return
        self._head += len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The headers are too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
