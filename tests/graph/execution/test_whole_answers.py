"""Answers that a server writes whole, against the same ones sent by messages."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from graph.http.origins import SECURITY_HEADERS
from graph.uvicorn_adapter.http import Whole
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
    """Send requests, the last of which ends the connection; give each status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(sent)
    async with asyncio.timeout(60):
        left = await reader.read()
    writer.close()
    given = []
    while left:
        head, _, left = left.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(headers) == len(lines)
        length = 0 if sent.startswith(b"HEAD") else int(headers[b"content-length"])
        given.append((status, headers, left[:length]))
        left = left[length:]
    return given


async def test_an_answer_is_the_same_either_way(tmp_path: Path) -> None:
    async with serving_process(tmp_path, ROSTER_RATE_LIMIT="1000/hour") as (_, url):
        close = b"Connection: close\r\n"
        whole, messages = await answers(url, request(b"a") + request(b"a", close))
        for status, headers, body in (whole, messages):
            assert (status, json.loads(body)) == (b"HTTP/1.1 200 OK", ANSWER)
            for name, value in SECURITY_HEADERS.items():
                assert headers[name.encode()] == value.encode()
        assert messages[1].pop(b"connection") == b"close"
        assert whole[1].pop(b"ratelimit").startswith(b'"caller";r=999;t=')
        assert messages[1].pop(b"ratelimit").startswith(b'"caller";r=998;t=')
        assert whole[1].pop(b"date")
        assert messages[1].pop(b"date")
        assert whole == messages


class Cycle:
    """Stands for uvicorn's; notes what is written, and that the response is over."""

    def __init__(self, **changed: Any) -> None:
        self.default_headers = [(b"date", b"today")]
        self.response_started = self.response_complete = self.disconnected = self.access_log = False
        self.keep_alive = self.waiting_for_100_continue = True
        self.flow = SimpleNamespace(write_paused=False)
        self.scope = {"method": "POST"}
        self.message_event = asyncio.Event()
        self.written: list[bytes] = []
        self.transport = SimpleNamespace(write=self.written.append)
        self.ended = 0
        for name, value in changed.items():
            setattr(self, name, value)

    async def send(self, message: Message) -> None:
        raise AssertionError(message)

    def on_response(self) -> None:
        self.ended += 1


def test_a_whole_answer_is_one_write() -> None:
    cycle: Any = Cycle()
    assert Whole(cycle).write(cycle.send, [(b"a", b"b")], b"c: d\r\n", b"{}")
    assert cycle.written == [b"HTTP/1.1 200 OK\r\ndate: today\r\na: b\r\nc: d\r\n\r\n{}"]
    assert cycle.response_started
    assert cycle.response_complete
    assert cycle.message_event.is_set()
    assert cycle.ended == 1
    assert not Whole(cycle).write(cycle.send, [], b"", b"{}")  # it has begun
    assert len(cycle.written) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"response_started": True},
        {"disconnected": True},
        {"access_log": True},
        {"keep_alive": False},
        {"flow": SimpleNamespace(write_paused=True)},
        {"scope": {"method": "HEAD"}},
    ],
    ids=str,
)
def test_what_is_rare_is_left_to_messages(changed: dict[str, Any]) -> None:
    cycle: Any = Cycle(**changed)
    assert not Whole(cycle).write(cycle.send, [], b"", b"{}")
    assert (cycle.written, cycle.ended, cycle.response_complete) == ([], 0, False)


def test_whoever_wants_to_see_the_messages_sees_them() -> None:
    cycle: Any = Cycle()

    async def wrapped(message: Message) -> None:
        await cycle.send(message)

    assert not Whole(cycle).write(wrapped, [], b"", b"{}")
    assert (cycle.written, cycle.ended) == ([], 0)


async def test_a_connection_goes_on_or_ends_as_it_should(tmp_path: Path) -> None:
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
