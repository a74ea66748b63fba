"""A WebSocket extension of the server beyond ASGI, found in the scope of a connection.

`graph/uvicorn_adapter` provides it. On other servers, messages are sent one by one.
"""

from typing import Final, Protocol

from starlette.types import Send

EXTENSION: Final = "roster.websocket.frames"
# How long the client may take to close the connection after everything was sent.
LINGER_SECONDS: Final = 10
# How long the client may take to receive pending data and the close frame.
FAREWELL_SECONDS: Final = 60


class FrameWriter(Protocol):
    """Writes many frames with one call, instead of one ASGI message each."""

    send: Send
    stays_open: bool
    """Whether the application, not the server, closes the connection at shutdown."""

    def write_frames(self, frames: bytes) -> bool:
        """Send frames. Returns False, and sends nothing, if the client is behind with earlier ones.

        Raises OSError if the connection is closed.
        """
        ...

    async def wait_until_received(self) -> None:
        """Wait until the client has received most of the data sent to it."""

    def close_behind(self, code: int, reason: str, seconds: float) -> None:
        """Close the connection after all pending data, or after this number of seconds."""
