"""Frames bypass ASGI messages only if no middleware observes them."""

from typing import Any

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from graph.protocol.frames import EXTENSION
from graph.streaming.chunks import ResultBatch
from graph.websocket.sender import Sender


class Writer:
    """A server that writes frames."""

    stays_open = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def write_frames(self, frames: bytes) -> bool:
        self.frames.append(frames)
        return True


@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_frames_are_written_directly_only_without_middleware(*, is_wrapped: bool) -> None:
    writer: Any = Writer()

    async def wrapped(message: Message) -> None:
        await writer.send(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    send = wrapped if is_wrapped else writer.send
    scope = {"type": "websocket", "headers": [], "extensions": {EXTENSION: writer}}
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    await websocket.accept()
    sender = Sender(websocket, send, 60)
    await sender.send_results(b'{"payload":', ResultBatch([b"1", b"2"]))
    texts = [m["text"] for m in writer.messages if m["type"] == "websocket.send"]
    assert (sender.writes_frames, len(writer.frames)) == ((False, 0) if is_wrapped else (True, 1))
    assert texts == (['{"payload":1}', '{"payload":2}'] if is_wrapped else [])
    assert sender.write(b"", ResultBatch([b"3"])) is not is_wrapped
    assert writer.stays_open
