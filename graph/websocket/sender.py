"""Sends messages to one socket: many frames in one write, or one ASGI message each."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from graph.protocol.frames import EXTENSION, FAREWELL_SECONDS, LINGER_SECONDS, FrameWriter
from graph.streaming.chunks import ResultBatch
from graph.websocket.close_codes import ClientGoneError, CloseCode, ConnectionClosedError

# Exceptions that servers raise if the client has closed the socket.
GONE: Final = (WebSocketDisconnect, OSError, RuntimeError)
_TOO_SLOW: Final = ("Too slow: come back with your last cursor", "TOO_SLOW")


class Sender:
    """Sends to one socket. The client must receive each message within `seconds`."""

    def __init__(self, websocket: WebSocket, send: Send, seconds: float) -> None:
        self._websocket = websocket
        self._seconds = seconds
        writer: FrameWriter | None = websocket.scope.get("extensions", {}).get(EXTENSION)
        if writer is not None:
            writer.stays_open = True
        # Frames bypass the ASGI `send`. If middleware has wrapped it, frames are not used, so that
        # the middleware sees each message.
        self._writer = writer if writer is not None and writer.send == send else None

    @property
    def writes_frames(self) -> bool:
        return self._writer is not None

    async def send(self, message: bytes) -> None:
        """Raise ConnectionClosedError if the message is not received in time.

        Raises ClientGoneError if the client has closed the socket.
        """
        await self._in_time(self._websocket.send_text(message.decode()))

    async def send_results(self, before: bytes, results: ResultBatch) -> None:
        """Send each result in an envelope that starts with `before`. Raises like `send`."""
        if self._writer is None:
            for text in results.texts:
                await self.send(before + text + b"}")
            return
        frames = results.frames(before, b"}")
        try:
            while not self._writer.write_frames(frames):
                await self._in_time(self._writer.wait_until_received())
        except GONE:
            raise ClientGoneError from None

    def write(self, before: bytes, results: ResultBatch) -> bool:
        """Send results without waiting. Return False if that is not possible."""
        if self._writer is None:
            return False
        try:
            return self._writer.write_frames(results.frames(before, b"}"))
        except GONE:
            return False  # the next `send` raises ClientGoneError

    async def close(self, closed: ConnectionClosedError, *, is_known: bool) -> None:
        if self._writer is not None:
            # An unauthenticated client has no pending messages, so the shorter time is enough.
            seconds = FAREWELL_SECONDS if is_known else LINGER_SECONDS
            self._writer.close_behind(closed.code, closed.reason, seconds)
            return
        # A client that does not receive messages does not receive the close frame either.
        with suppress(TimeoutError, *GONE):
            async with asyncio.timeout(self._seconds):
                await self._websocket.close(closed.code, closed.reason)

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await sending
        except TimeoutError:
            raise ConnectionClosedError(CloseCode.TRY_AGAIN_LATER, *_TOO_SLOW) from None
        except GONE:
            raise ClientGoneError from None
