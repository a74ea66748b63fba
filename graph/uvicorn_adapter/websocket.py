"""uvicorn's WebSocket protocol, with three corrections.

Many frames in one write: the ASGI message `websocket.send` sends one frame in one write. With many
subscribers, these writes would take most of the CPU time. Here, all pending messages of a
subscriber are one write.

Handshake: uvicorn sends no response if the head exceeds the limits of the websockets library. It
also parses data that arrives before the handshake response as frames.

Shutdown: uvicorn closes every socket immediately, including those with operations in progress.
"""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from graph.protocol.frames import EXTENSION, LINGER_SECONDS

_MAX_FRAMES: Final = 1_000  # per message
_MAX_LATE: Final = 4 * 1024 * 1024  # bytes that are read and discarded after our close frame
_STOPPING_SECONDS: Final = 1  # upper bound of the close timeout during a shutdown


_HANDSHAKE: Final = (
    "This is not the opening handshake of a WebSocket: see RFC 6455, section 4.2.1. "
    "It is GET by HTTP/1.1, with Connection: Upgrade, Upgrade: websocket, "
    "Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key.\n"
)
_TOO_LARGE: Final = {
    414: "The URL of a WebSocket handshake must not exceed 8 KiB.\n",
    431: "A WebSocket handshake must not exceed 128 headers of 8 KiB each.\n",
}


class _ServerProtocol(ServerProtocol):
    """Replaces the error texts of the websockets library, which quote Python exceptions."""

    def accept(self, request: Request) -> Response:
        response = super().accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            return response
        told = self.reject(response.status_code, _HANDSHAKE)
        for name in ("Allow", "Upgrade"):
            if name in response.headers:
                told.headers[name] = response.headers[name]
        return told

    def reject(self, status: int, text: str) -> Response:
        return super().reject(status, _TOO_LARGE.get(status, text))

    def fail(self, code: int, reason: str = "") -> None:
        super().fail(code, reason and self._reason(code))

    def fail_because(self, code: int, reason: str) -> None:
        super().fail(code, reason)

    def _reason(self, code: int) -> str:
        match code:
            case CloseCode.PROTOCOL_ERROR:
                return "RFC 6455 does not allow this frame"
            case CloseCode.INVALID_DATA:
                return "not UTF-8"
            case CloseCode.MESSAGE_TOO_BIG:
                return f"a message has at most {self.max_message_size} bytes"
            case CloseCode.INTERNAL_ERROR:
                return "a ping was not answered in time"
        return ""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    stays_open = False  # whether the application closes the socket during a shutdown
    _is_stopping = False
    _early = b""  # data that arrived before the handshake response
    _late = 0  # bytes that arrived after the close frame was sent
    conn: _ServerProtocol

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn.__class__ = _ServerProtocol  # uvicorn creates it and has no option for the class

    def data_received(self, data: bytes) -> None:
        """Buffer data that arrives before the handshake response. Discard data after the close."""
        if self.handshake_initiated and not self.handshake_complete:
            self._early += data
            self.transport.pause_reading()
            return
        if self.close_sent:
            self._late += len(data)
            if self._late > _MAX_LATE:
                self.transport.pause_reading()  # without a reset: the client can read our close
                return
        if not self.conn.eof_sent:
            super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = self.handshake_complete = True
            self.transport.close()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self._early and self.handshake_complete:
            early, self._early = self._early, b""
            self.transport.resume_reading()
            self.data_received(early)

    def shutdown(self) -> None:
        # With `stays_open`, the application closes the socket when its operations are complete.
        self._is_stopping = True
        if self.close_sent:
            if self.close_timer is not None:
                self.close_timer.cancel()
                self.close_timer = None
            self._wait_for_close(_STOPPING_SECONDS)
        elif self.handshake_complete and not self.stays_open:
            super().shutdown()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:  # otherwise no scope exists
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

    def handle_cont(self, event: Frame) -> None:
        # The limit of the message size does not limit the number of empty frames.
        if self.close_sent:
            return
        if len(self.frames) >= _MAX_FRAMES:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"more than {_MAX_FRAMES} frames in a message")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        if not self.conn.eof_sent:
            super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        if self.close_sent:
            super().handle_close(event)
        else:
            self._end(self.conn.close_rcvd)

    def handle_parser_exception(self) -> None:
        self._end(self.conn.close_sent)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail_because(code, reason)
        self.handle_parser_exception()

    def _end(self, said: Close | None) -> None:
        """Send pending data and the close frame, then wait for the client to disconnect."""
        # Only the sending side of the connection is closed. Closing both sides while the client
        # still sends causes a reset, and a reset destroys the close frame before it is read.
        if said is None:  # the client sent frames before the handshake response
            self.transport.close()
            return
        ended = {"type": "websocket.disconnect", "code": said.code, "reason": said.reason}
        self.queue.put_nowait(ended)  # type: ignore[arg-type] # a plain dict, not a TypedDict
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_sent = True
        self._wait_for_close(LINGER_SECONDS)

    def _wait_for_close(self, seconds: float) -> None:
        self.read_paused = False
        self.transport.resume_reading()
        if self._is_stopping:
            seconds = min(seconds, _STOPPING_SECONDS)
        self.close_timer = self.close_timer or self.loop.call_later(seconds, self.transport.abort)

    def send_receive_event_to_app(self) -> None:
        # uvicorn closes the socket too, but logs a traceback.
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def write_frames(self, frames: bytes) -> bool:
        """Send complete frames. Return False, without sending, if the write buffer is full.

        Raises ClientDisconnected, an OSError, if the connection is closed.
        """
        if self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        if not self.writable.is_set():
            return False
        self.transport.write(frames)
        return True

    async def wait_until_received(self) -> None:
        """Wait until the write buffer has drained below its low watermark."""
        await self.writable.wait()

    def close_behind(self, code: int, reason: str, seconds: float) -> None:
        """Close after all pending data is sent. Abort the connection after `seconds`."""
        if self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._wait_for_close(seconds)
