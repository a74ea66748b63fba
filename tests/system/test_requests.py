"""Bodies that come slowly, against a real server over a bare socket."""

import asyncio
from pathlib import Path

import pytest

from tests.support.process import serving_process

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
async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, sent: bytes, status: bytes, code: bytes
) -> None:
    async with serving_process(tmp_path, ROSTER_BODY_TIMEOUT="0.3") as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(HEAD + sent)
        async with asyncio.timeout(60):
            answer = await reader.read()  # to the end: the server closes the connection
        writer.close()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert code in answer
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("chunked", [False, True])
async def test_who_sends_too_much_reads_the_answer_all_the_same(
    tmp_path: Path, *, chunked: bool
) -> None:
    """More than lies in the sockets' buffers: a close would reset what is still on its way."""
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
