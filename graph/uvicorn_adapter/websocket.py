"""uvicorn's WebSocket protocol, and what it leaves open.

Many messages in one write: an ASGI message `websocket.send` is one frame and one write. With many
subscribers most of a server's time would go there; here all that happened meanwhile is one write to
each of them.

The handshake: it sends no response if the head exceeds its library's limits, and reads what comes
before the handshake is answered as frames.

The end of the server: it closes every socket immediately, also those with operations in progress.
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

_MAX_FRAMES: Final = 1_000  # of one message
_MAX_LATE: Final = 4 * 1024 * 1024  # bytes; what is on its way by then
_STOPPING_SECONDS: Final = 1  # instead of either, when the server stops


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
    """What websockets answers by itself, in words of ours: its own quote exceptions of Python's."""

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
    stays_open = False  # whether the application closes the socket when the server stops
    _is_stopping = False
    _early = b""  # what came before the handshake was answered
    _late = 0  # bytes that came after the close was sent
    conn: _ServerProtocol

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn.__class__ = _ServerProtocol  # uvicorn makes it, and asks for no class

    def data_received(self, data: bytes) -> None:
        """Take no notice of what comes after the end, and at last stop taking it in."""
        if self.handshake_initiated and not self.handshake_complete:
            self._early += data
            self.transport.pause_reading()
            return
        if self.close_sent:
            self._late += len(data)
            if self._late > _MAX_LATE:
                self.transport.pause_reading()  # which leaves the other side our close to read
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
        """Leave the end to the application if it answers operations before it closes the socket."""
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
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:  # else there is no scope
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

    def handle_cont(self, event: Frame) -> None:
        """Close the socket for a message of too many frames: empty ones never become too large."""
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
        """Answer the other side's close; where it goes on sending, it can still read that."""
        if self.close_sent:
            super().handle_close(event)
        else:
            self._end(self.conn.close_rcvd)

    def handle_parser_exception(self) -> None:
        """Say why the socket is closed, where nothing can be read from it any more."""
        self._end(self.conn.close_sent)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail_because(code, reason)
        self.handle_parser_exception()

    def _end(self, said: Close | None) -> None:
        """Send what there is, the close at its end, and wait for the other side to go.

        The connection is closed for sending alone. One that is closed while the other side still
        sends is reset, and a reset destroys what it has not read yet: it would never learn why.
        """
        if said is None:  # frames before the handshake was answered
            self.transport.close()
            return
        ended = {"type": "websocket.disconnect", "code": said.code, "reason": said.reason}
        self.queue.put_nowait(ended)  # type: ignore[arg-type] # a plain dictionary
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
        """Close the socket for a text that is not UTF-8, as uvicorn does, but log no traceback."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def write_frames(self, frames: bytes) -> bool:
        """Send whole frames, unless the other side is behind with what it was sent before.

        Raises ClientDisconnected, an OSError, where there is nobody to send to any more.
        """
        if self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        if not self.writable.is_set():
            return False
        self.transport.write(frames)
        return True

    async def wait_until_received(self) -> None:
        """Wait until the other side has taken most of what it was sent."""
        await self.writable.wait()

    def close_behind(self, code: int, reason: str, seconds: float) -> None:
        """Close after all that is still to be taken, or at last without: for who takes nothing."""
        if self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._wait_for_close(seconds)
