"""Responses as they are on the wire."""

import asyncio
import json
from pathlib import Path

from graph.http.origins import SECURITY_HEADERS
from tests.support.process import serving_process

BODY = b'{"query": "{ __typename }"}'
ANSWER = {"data": {"__typename": "Query"}}
REQUEST = (
    b"%b HTTP/%b\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Request-Id: %b\r\n"
    b"%bContent-Length: %d\r\n\r\n%b"
)
POST = b"POST /graphql"


def request(id_: bytes, more: bytes = b"", start: bytes = POST, version: bytes = b"1.1") -> bytes:
    return REQUEST % (start, version, id_, more, len(BODY), BODY)


async def answers(url: str, sent: bytes) -> list[tuple[bytes, dict[bytes, bytes], bytes]]:
    """Sends requests; the last one closes the connection. Returns status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(sent)
    async with asyncio.timeout(60):
        unparsed = await reader.read()
    writer.close()
    responses = []
    while unparsed:
        head, _, unparsed = unparsed.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(headers) == len(lines)
        length = 0 if sent.startswith(b"HEAD") else int(headers[b"content-length"])
        responses.append((status, headers, unparsed[:length]))
        unparsed = unparsed[length:]
    return responses


async def test_last_response_of_a_connection_differs_only_in_its_close_header(
    tmp_path: Path,
) -> None:
    async with serving_process(tmp_path, ROSTER_RATE_LIMIT="1000/hour") as (_, url):
        close = b"Connection: close\r\n"
        first, last = await answers(url, request(b"a") + request(b"a", close))
        for status, headers, body in (first, last):
            assert (status, json.loads(body)) == (b"HTTP/1.1 200 OK", ANSWER)
            for name, value in SECURITY_HEADERS.items():
                assert headers[name.encode()] == value.encode()
        assert last[1].pop(b"connection") == b"close"
        assert first[1].pop(b"ratelimit").startswith(b'"caller";r=999;t=')
        assert last[1].pop(b"ratelimit").startswith(b'"caller";r=998;t=')
        assert first[1].pop(b"date")
        assert last[1].pop(b"date")
        assert first == last


async def test_connection_serves_pipelined_requests_and_closes_on_request(tmp_path: Path) -> None:
    close = b"Connection: close\r\n"
    async with serving_process(tmp_path) as (_, url):
        sent = b"".join(request(b"%d" % n) for n in range(9))
        many = await answers(url, sent + request(b"9", close))
        assert [headers[b"x-request-id"] for _, headers, _ in many] == [
            b"%d" % n for n in range(10)
        ]
        assert {(status, body) for status, _, body in many} == {
            (b"HTTP/1.1 200 OK", json.dumps(ANSWER, separators=(",", ":")).encode())
        }
        [old] = await answers(url, request(b"old", version=b"1.0"))
        assert (old[0], json.loads(old[2])) == (b"HTTP/1.1 200 OK", ANSWER)
        [head] = await answers(url, request(b"head", close, start=b"HEAD /graphql"))
        assert (head[0], head[2]) == (b"HTTP/1.1 405 Method Not Allowed", b"")
