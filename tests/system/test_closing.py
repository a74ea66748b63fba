"""A client whose WebSocket is closed can read the close code, whatever else it sends."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
from websockets.frames import Frame, Opcode

from tests.support.process import MEASURED, serving_process
from tests.support.sockets import PROTOCOL, ask, receive_message, send_message, socket

HELLO = b"""GET /graphql HTTP/1.1\r
host: 127.0.0.1\r
upgrade: websocket\r
connection: upgrade\r
sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r
sec-websocket-version: 13\r
sec-websocket-protocol: %b\r
\r
"""
MAX_FLOOD_BYTES = (
    64 * 2**20
)  # bytes; the server reads 4 MiB, and the system's buffers hold some more
MASK = bytes(4)  # changes nothing


def frame(text: bytes, *, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, text, fin=fin).serialize(mask=True)


INIT = frame(b'{"type":"connection_init"}')
SUBSCRIBE = frame(b'{"type":"subscribe","id":"1","payload":{"query":"{__typename}"}}')
WRONG = {
    "longer than a message can be": (b"\x81\xff\0\0\0\0\0\x04\0\x01" + MASK, 1009),
    "and in fragments": (
        b"".join(frame(bytes(60_000), opcode=Opcode(n == 0), fin=False) for n in range(5)),
        1009,
    ),
    "of too many fragments": (
        frame(b"", fin=False) + 1_001 * frame(b"", opcode=Opcode.CONT, fin=False),
        1009,
    ),
    "not masked": (b"\x81\x02hi", 1002),
    "of no known kind": (b"\x83\x80" + MASK, 1002),
    "with reserved bits": (b"\xf1\x80" + MASK, 1002),
    "the rest of nothing": (b"\x80\x80" + MASK, 1002),
    "a ping that is too long": (b"\x89\xfe\x01\0" + MASK + bytes(256), 1002),
    "half of a close code": (b"\x88\x81" + MASK + b"\x01", 1002),
    "a close code that nobody sends": (b"\x88\x82" + MASK + b"\x03\xed", 1002),
    "a reason that is no UTF-8": (b"\x88\x84" + MASK + b"\x03\xe8\xff\xfe", 1007),
    "a text that is no UTF-8": (frame(b"\xff"), 1007),
    "binary": (frame(b"{}", opcode=Opcode.BINARY), 4400),
    "no JSON": (frame(b"{"), 4400),
    "no object": (frame(b"[1]"), 4400),
    "no known message": (frame(b'{"type":"next"}'), 4400),
    "initialised twice": (INIT + INIT, 4429),
    "not initialised": (SUBSCRIBE, 4401),
    "goodbye": (b"\x88\x82" + MASK + b"\x03\xe8", 1000),
}


@asynccontextmanager
async def raw_websocket(url: str) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Opens a WebSocket as raw bytes: it answers neither a close nor a ping."""
    to = httpx.URL(url)
    reader, writer = await asyncio.open_connection(to.host, to.port)
    writer.write(HELLO % PROTOCOL.encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def close_code(reader: StreamReader) -> int:
    """Reads up to the close frame and returns its code."""
    while True:
        opcode, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        data = await reader.readexactly(length)
        if opcode & 15 == Opcode.CLOSE:
            return int.from_bytes(data[:2])


async def test_client_that_keeps_sending_receives_the_close_code(tmp_path: Path) -> None:
    """Closing with unread data resets the connection, and the close frame is lost."""
    more = frame(bytes(60_000))
    async with serving_process(cwd=tmp_path, **MEASURED) as (_, url), asyncio.timeout(60):
        for name, (wrong, code) in WRONG.items():
            async with raw_websocket(url) as (reader, writer):
                writer.write(wrong)
                assert (name, await close_code(reader)) == (name, code)
                for _ in range(10):
                    writer.write(more)
                    await writer.drain()
                writer.write(frame(b"\x03\xe8", opcode=Opcode.CLOSE))
                writer.write_eof()
                assert await reader.read() == b""
        assert await ask(url, "{ __typename }") == "Query"


async def test_uninitialised_sockets_are_closed_in_favour_of_new_ones(tmp_path: Path) -> None:
    settings = {"ROSTER_MAX_CONNECTIONS_PER_CALLER": "3", "ROSTER_WS_INIT_TIMEOUT": "60"}
    async with (
        serving_process(cwd=tmp_path, **settings, **MEASURED) as (_, url),
        asyncio.timeout(60),
        AsyncExitStack() as silent,
        socket(url) as first,
    ):
        idle = [await silent.enter_async_context(raw_websocket(url)) for _ in range(3)]
        async with socket(url) as another:  # accepted without a wait
            assert await close_code(idle[0][0]) == 4408
            idle += [await silent.enter_async_context(raw_websocket(url)) for _ in range(3)]
            for reader, _ in idle[1:3]:
                assert await close_code(reader) == 4408
            for _, writer in idle[3:]:  # these are still open
                writer.write(frame(b'{"type":"ping"}'))
            for reader, _ in idle[3:]:
                assert (await reader.readexactly(2))[0] & 15 == Opcode.TEXT
                assert await reader.readexactly(15) == b'{"type":"pong"}'
            for known in (first, another):
                await send_message(known, {"type": "ping"})
                assert await receive_message(known) == {"type": "pong"}


async def test_flood_after_the_close_is_read_only_up_to_a_limit(tmp_path: Path) -> None:
    """A client that stops sending can read the close code."""
    flood = frame(bytes(200_000))
    async with serving_process(cwd=tmp_path, **MEASURED) as (_, url), asyncio.timeout(60):
        for name in ("not masked", "no JSON"):
            async with raw_websocket(url) as (reader, writer):
                writer.write(WRONG[name][0])
                sent = 0
                with suppress(TimeoutError):
                    while sent < MAX_FLOOD_BYTES:
                        writer.write(flood)
                        async with asyncio.timeout(1):
                            await writer.drain()
                        sent += len(flood)
                assert sent < MAX_FLOOD_BYTES
                assert await close_code(reader) == WRONG[name][1]
                writer.transport.abort()
        assert await ask(url, "{ __typename }") == "Query"
