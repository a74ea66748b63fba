"""uvicorn's HTTP protocol, and two things more.

How long the head of a request can be: its parser takes headers for as long as somebody sends them,
and keeps them all.

A whole response in one write: ASGI's messages look at each header again in every response, and the
dozen that are always the same cost more than the rest of it.
"""

from asyncio import BaseTransport
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# An extension of ASGI: whoever knows it finds a `Whole` there.
WHOLE: Final = "roster.http.whole"
_OK: Final = STATUS_LINE[HTTPStatus.OK]
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
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # else it is to become a WebSocket
            scope: Any = self.scope
            scope["extensions"] = {WHOLE: Whole(self.cycle)}


class Whole:
    """Writes the response to one request."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def write(
        self, send: Send, headers: list[tuple[bytes, bytes]], more: bytes, body: bytes
    ) -> bool:
        """Answer 200, with headers that are known to be right; `more` of them are ready as lines.

        Tells whether it did. Where `send` is not uvicorn's own, somebody wants to see the messages;
        and what is rare is left to uvicorn: a slow reader, a closed connection, a body not to send.
        """
        cycle = self._cycle
        if (
            send != cycle.send
            or cycle.response_started
            or cycle.disconnected
            or cycle.access_log
            or cycle.flow.write_paused
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        lines = [b"%b: %b\r\n" % header for header in cycle.default_headers + headers]
        cycle.transport.write(b"".join([_OK, *lines, more, b"\r\n", body]))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True
