"""uvicorn's HTTP protocol, and what it leaves open.

Request boundaries: its parser, llhttp, ends a request at its head if the head offers to change the
protocol. The body is lost then, or read as another request. Here the same request is parsed without
the offer, unless it is a WebSocket handshake. ADR 18.

Malformed requests: it answers them immediately, although an earlier request of the connection still
waits for its answer and would take this one for it.

How long the head of a request can be: its parser takes headers for as long as somebody sends them,
and keeps them all.
"""

from asyncio import BaseTransport
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from graph.uvicorn_adapter.request_head import (
    MalformedRequest,
    checked_target,
    is_websocket_handshake,
    without_upgrade,
)
from graph.uvicorn_adapter.websocket import WebSocketProtocol

# Beyond what comes with the first read, which is bounded itself. A token has 8 KiB at most.
MAX_HEAD: Final = 64 * 1024
_TOO_LONG: Final = f"Headers and trailers must not exceed {MAX_HEAD} bytes."
_MALFORMED: Final = "The request is not valid HTTP/1.1."
# For how long an idle connection stays open when the server stops: a request that is on its way is
# answered, and the answer says that the connection is closed.
_IDLE_SECONDS: Final = 0.5


class HTTPProtocol(HttpToolsProtocol):
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # it wants uvicorn's own kind
        self._in_head = False
        self._in_body = False
        self._is_handshake = False
        self._is_stopping = False
        self._advanced = False  # whether what was just read completed anything
        self._unfinished = 0  # bytes that were read since something was completed
        self._malformed: str | None = None  # why nothing is parsed any more
        self._responding: RequestResponseCycle | None = (
            None  # `cycle` is the one that was read last
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Also end the request that is being answered if others were read behind it."""
        super().connection_lost(exc)
        if self._responding is not None:
            _disconnect(self._responding)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._malformed is not None:
            return
        self._advanced = False
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                self._ignore_upgrades(memoryview(data)[upgrade.args[0] :])
        except HttpParserError as error:
            cause = error.__context__
            self._refuse(str(cause) if isinstance(cause, MalformedRequest) else _MALFORMED)
            return
        self._unfinished = 0 if self._advanced else self._unfinished + len(data)
        if self._unfinished > MAX_HEAD:
            self._refuse(_TOO_LONG)

    def _ignore_upgrades(self, data: memoryview) -> None:
        """Go on behind a head that offers an upgrade; `data` can have more of them."""
        while not self._is_handshake:
            self._parse_without_upgrade()
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return
        self._become_websocket(bytes(data))

    def _parse_without_upgrade(self) -> None:
        """Parse the head again. The length of the body follows from the head (RFC 9112, 6)."""
        version = self.parser.get_http_version()
        head = without_upgrade(self.parser.get_method(), version, self.url, self.headers)
        self.parser = HttpRequestParser(self)
        # As uvicorn's own: what follows a request that closes the connection is not an error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)

    def _become_websocket(self, data: bytes) -> None:
        self.handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        assert isinstance(protocol, WebSocketProtocol)
        if data and not self.transport.is_closing():
            protocol.data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._advanced = self._in_head = True

    def on_headers_complete(self) -> None:
        self._advanced, self._in_head = True, False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self.url = checked_target(method, version, self.url, self.headers)
        is_idle = self.cycle is None or self.cycle.response_complete
        if self.parser.should_upgrade():
            # A handshake behind a request that is not answered yet is answered as a plain GET.
            self._is_handshake = is_idle and is_websocket_handshake(method, version, self.headers)
            self.scope["method"] = method.decode("ascii")
            return  # without a request: `data_received` goes on
        super().on_headers_complete()
        self._in_body = True
        if is_idle:
            self._responding = self.cycle
        if self._is_stopping:
            self.cycle.keep_alive = False
        self.headers = []  # trailers, which are no headers of the request (RFC 9110, 6.5.1)

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._advanced = True
        if not self.parser.should_upgrade():
            self._in_body = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._responding = following
        if following is None and self._malformed is not None and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.send_400_response(self._malformed)

    def _refuse(self, message: str) -> None:
        """Answer a malformed request with 400 and close. Earlier requests are answered first."""
        self._malformed = message
        self.logger.warning("refused a malformed request: %s", message)
        if self._in_body and self.pipeline:
            self.pipeline.popleft()  # the request that this is the body of: it was not started
        elif self._in_body:
            self._refuse_body(message)
        elif self._responding is None:
            self.send_400_response(message)

    def _refuse_body(self, message: str) -> None:
        is_answered = self.cycle.response_started
        _disconnect(self.cycle)
        if is_answered:  # by an answer that needed no body: a second one would answer nothing
            self.transport.close()
        else:
            self.send_400_response(message)

    def shutdown(self) -> None:
        """Close after the request that is on its way. uvicorn closes idle connections directly."""
        self._is_stopping = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._responding is None and not self._in_head and not self.transport.is_closing():
            self.transport.close()


def _disconnect(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
