"""Messages to one socket: many frames in one write, or ASGI's messages one by one."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from graph.protocol.frames import EXTENSION, FAREWELL_SECONDS, LINGER_SECONDS, FrameWriter
from graph.streaming.chunks import ResultBatch
from graph.websocket.close_codes import ClientGoneError, CloseCode, ConnectionClosedError

# What a server raises if the other side has closed the socket meanwhile.
GONE: Final = (WebSocketDisconnect, OSError, RuntimeError)
_TOO_SLOW: Final = "Too slow: come back with your last cursor"


class Sender:
    """Sends to one socket. Each message has to be received within so many seconds."""

    def __init__(self, websocket: WebSocket, send: Send, seconds: float) -> None:
        self._websocket = websocket
        self._seconds = seconds
        writer: FrameWriter | None = websocket.scope.get("extensions", {}).get(EXTENSION)
        if writer is not None:
            writer.stays_open = True
        # Frames pass by `send`. If middleware has wrapped it, each message has to go through it.
        self._writer = writer if writer is not None and writer.send == send else None

    @property
    def writes_frames(self) -> bool:
        return self._writer is not None

    async def send(self, message: bytes) -> None:
        """Raise ConnectionClosedError if the message is not received in time."""
        await self._in_time(self._websocket.send_text(message.decode()))

    async def send_results(self, before: bytes, results: ResultBatch) -> None:
        """Send each result within an envelope that begins with `before`."""
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
        """Send results without waiting. Return whether that was possible."""
        if self._writer is None:
            return False
        try:
            return self._writer.write_frames(results.frames(before, b"}"))
        except GONE:
            return False  # which the next `send` finds

    async def close(self, closed: ConnectionClosedError, *, is_known: bool) -> None:
        if self._writer is not None:
            # Nothing was sent that an unknown caller could still have to receive.
            seconds = FAREWELL_SECONDS if is_known else LINGER_SECONDS
            self._writer.close_behind(closed.code, closed.reason, seconds)
            return
        # A client that receives nothing does not receive this either.
        with suppress(TimeoutError, *GONE):
            async with asyncio.timeout(self._seconds):
                await self._websocket.close(closed.code, closed.reason)

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await sending
        except TimeoutError:
            raise ConnectionClosedError(CloseCode.TRY_AGAIN_LATER, _TOO_SLOW) from None
        except GONE:
            raise ClientGoneError from None
