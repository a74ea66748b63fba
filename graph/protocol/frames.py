"""What a server can offer for sockets beyond ASGI, as an extension in a connection's scope.

`graph/uvicorn_adapter` does. On any other server the messages are sent one by one.
"""

from typing import Final, Protocol

from starlette.types import Send

EXTENSION: Final = "roster.websocket.frames"
# How long the other side may take to close the connection, once it has been sent all.
LINGER_SECONDS: Final = 10
# How long it may take to receive all that was sent before, and the close behind that.
FAREWELL_SECONDS: Final = 60


class FrameWriter(Protocol):
    """Writes many frames at once, past the messages of ASGI."""

    send: Send
    stays_open: bool
    """Whether the application, and not the server, closes the socket when the server stops."""

    def write_frames(self, frames: bytes) -> bool:
        """Send frames, unless the other side has not received those before yet.

        Raises OSError if the connection is closed.
        """
        ...

    async def wait_until_received(self) -> None:
        """Wait until the other side has received most of what was sent."""

    def close_behind(self, code: int, reason: str, seconds: float) -> None:
        """Close the socket behind all that was sent, or after so many seconds."""
