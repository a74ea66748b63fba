"""uvicorn's HTTP protocol, with three corrections.

Request boundaries (ADR 18): uvicorn's parser, llhttp, ends a request after its head if the head
contains an `Upgrade`. The body is lost, or parsed as another request. This protocol parses such a
request again without the upgrade, unless it is a WebSocket handshake.

Malformed requests: uvicorn responds 400 immediately. If an earlier request of the connection is
still in progress, its client takes the 400 for that request's response. Here the 400 waits.

Size of the head: uvicorn's parser accepts and stores an unlimited number of headers. Here it is
limited to MAX_HEAD bytes.
"""

from asyncio import BaseTransport
from typing import Final

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from graph.uvicorn_adapter.request_head import (
    MalformedRequest,
    checked_target,
    is_websocket_handshake,
    without_upgrade,
)
from graph.uvicorn_adapter.websocket import WebSocketProtocol

log = structlog.get_logger("roster")

# Bytes, in addition to the first read, whose size is limited too. A token has at most 8 KiB.
MAX_HEAD: Final = 64 * 1024
_TOO_LONG: Final = f"Headers and trailers must not exceed {MAX_HEAD} bytes."
_MALFORMED: Final = "The request is not valid HTTP/1.1."


class HTTPProtocol(HttpToolsProtocol):
    # Seconds that an idle connection stays open during a shutdown. A request that is already in
    # transit gets a response, with the header `Connection: close`.
    idle_seconds = 0.5

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows the type
        self._in_head = False
        self._in_body = False
        self._is_handshake = False
        self._is_stopping = False
        self._advanced = False  # whether the last read caused a parser event
        self._unfinished = 0  # bytes read since the last parser event
        self._malformed: str | None = None  # if set, no more data is parsed
        self._responding: RequestResponseCycle | None = (
            None  # the request in progress; `cycle` is the last one that was read
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn disconnects the last request that was read. With pipelining, that is not the one
        # in progress.
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
        """Continue after a head with an upgrade. `data`, the rest, can contain more such heads."""
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
        # A new parser reads the head without the upgrade, and so determines the length of the body
        # (RFC 9112, section 6).
        version = self.parser.get_http_version()
        head = without_upgrade(self.parser.get_method(), version, self.url, self.headers)
        self.parser = HttpRequestParser(self)
        # The same leniency as uvicorn's: data after `Connection: close` is not an error.
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
            # A handshake behind a request in progress is handled as a plain GET.
            self._is_handshake = is_idle and is_websocket_handshake(method, version, self.headers)
            self.scope["method"] = method.decode("ascii")
            return  # `data_received` handles the upgrade
        super().on_headers_complete()
        self._in_body = True
        if is_idle:
            self._responding = self.cycle
        if self._is_stopping:
            self.cycle.keep_alive = False
        self.headers = []  # collects trailers, which must not become headers (RFC 9110, 6.5.1)

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
        """Respond 400 and close the connection, after the responses to earlier requests."""
        self._malformed = message
        log.warning("refused a malformed request", reason=message)
        if self._in_body and self.pipeline:
            self.pipeline.popleft()  # the request with this body, which has not started
        elif self._in_body:
            self._refuse_body(message)
        elif self._responding is None:
            self.send_400_response(message)

    def _refuse_body(self, message: str) -> None:
        is_answered = self.cycle.response_started
        _disconnect(self.cycle)
        if is_answered:  # the response did not need the body; it must be the only one
            self.transport.close()
        else:
            self.send_400_response(message)

    def shutdown(self) -> None:
        # uvicorn closes idle connections immediately, which loses requests in transit.
        self._is_stopping = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(self.idle_seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._responding is None and not self._in_head and not self.transport.is_closing():
            self.transport.close()


def _disconnect(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
