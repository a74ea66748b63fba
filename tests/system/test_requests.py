"""Requests and handshakes that a client does not complete, and oversized bodies."""

import asyncio
from pathlib import Path

import pytest

from tests.support.process import serving_process
from tests.support.sockets import closed, socket

# Short: no test of this server completes its body or its handshake.
SETTINGS = {"ROSTER_BODY_TIMEOUT": "0.3", "ROSTER_WS_INIT_TIMEOUT": "0.3"}
HEAD = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"Content-Length: 100\r\n\r\n", b"408", b'"BODY_TIMEOUT"'),
        (b'Content-Length: 100\r\n\r\n{"query"', b"408", b'"BODY_TIMEOUT"'),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"408", b'"BODY_TIMEOUT"'),
        (b"Content-Length: 2000000\r\n\r\n", b"413", b'"BODY_TOO_LARGE"'),
    ],
)
async def test_missing_or_oversized_body_is_rejected_and_the_connection_closed(
    server_url: str, sent: bytes, status: bytes, code: bytes
) -> None:
    port = int(server_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + sent)
    async with asyncio.timeout(60):
        answer = await reader.read()  # to the end: the server closes the connection
    writer.close()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert code in answer
    assert b"connection: close" in answer.lower()


async def test_websocket_without_init_is_closed_with_4408(server_url: str) -> None:
    async with socket(server_url, init=False) as live:
        assert await closed(live) == (4408, "Connection initialisation timeout")


@pytest.mark.parametrize("chunked", [False, True])
async def test_client_that_sends_too_much_receives_the_413_response(
    tmp_path: Path, *, chunked: bool
) -> None:
    """The body exceeds the socket buffers: an early close would reset the connection."""
    part, parts = b"x" * 2**16, 6 * 16
    size = b"%x\r\n" % len(part)
    body = (size + part + b"\r\n") * parts + b"0\r\n\r\n" if chunked else part * parts
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    async with serving_process(tmp_path) as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        async with asyncio.timeout(60):
            writer.write(HEAD + length + b"\r\n\r\n" + body)
            await writer.drain()
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"BODY_TOO_LARGE"' in answer
