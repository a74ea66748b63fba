"""Input that uvicorn's protocols do not limit, sent to a real server."""

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.support.process import MEASURED, serving_process
from tests.support.sockets import ask, receive_message, send_message, socket

CHUNK = 16 * 1024


@pytest.mark.parametrize("start", [b"", b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "])
async def test_endless_headers_are_rejected(tmp_path: Path, start: bytes) -> None:
    """Sent as one long value, and as many short lines."""
    start = start or b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    more = b"a" * CHUNK if start.endswith(b": ") else b"x: y\r\n" * (CHUNK // 6)
    async with serving_process(cwd=tmp_path, **MEASURED) as (_, url):
        to = httpx.URL(url)
        reader, writer = await asyncio.open_connection(to.host, to.port)
        writer.write(start)
        answer = asyncio.create_task(reader.read(15))
        for _ in range(1000):
            writer.write(more)
            await asyncio.wait({answer}, timeout=0.01)
            if answer.done():
                break
        assert await asyncio.wait_for(answer, 60) == b"HTTP/1.1 400 Ba"
        writer.transport.abort()
        assert await ask(url, "{ __typename }") == "Query"


async def test_message_of_too_many_empty_frames_is_rejected(tmp_path: Path) -> None:
    async with serving_process(cwd=tmp_path, **MEASURED) as (_, url), socket(url) as live:
        first = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
        empty = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
        live.transport.write(first + 900 * empty)
        live.transport.write(Frame(Opcode.CONT, b'{"type":"ping"}').serialize(mask=True))
        assert await receive_message(live) == {"type": "pong"}
        live.transport.write(first + 2_000 * empty)
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(live.recv(), 60)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1009
        async with socket(url) as other:
            await send_message(other, {"type": "ping"})
            assert await receive_message(other) == {"type": "pong"}
