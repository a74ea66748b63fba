"""uvicorn's WebSocket protocol, and one thing more: many messages in one write.

An ASGI message `websocket.send` is one frame and one write. With many subscribers most of a
server's time would go there; here all that happened meanwhile is one write to each of them.
"""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

# An extension of ASGI: whoever knows it finds the protocol itself there.
FRAMES: Final = "roster.websocket.frames"
_MAX_FRAMES: Final = 1_000  # of one message
_FAREWELL_SECONDS: Final = 60  # to take what was sent before, and the close behind it


class WebSocketProtocol(WebSocketsSansIOProtocol):
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:  # else there is no scope
            extensions: Any = self.scope["extensions"]
            extensions[FRAMES] = self

    def handle_cont(self, event: Frame) -> None:
        """Close the socket for a message of too many frames: empty ones never become too large."""
        if len(self.frames) >= _MAX_FRAMES:
            self.frames = []
            self.conn.send_close(CloseCode.MESSAGE_TOO_BIG)
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Close the socket for a text that is not UTF-8, as uvicorn does, but log no traceback."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
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

    async def caught_up(self) -> None:
        """Wait until the other side has taken most of what it was sent."""
        await self.writable.wait()

    def close_behind(self, code: int, reason: str) -> None:
        """Close after all that is still to be taken, or at last without: for who takes nothing."""
        if self.close_sent or self.disconnected or self.conn.state is not State.OPEN:
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_FAREWELL_SECONDS, self.transport.abort)
