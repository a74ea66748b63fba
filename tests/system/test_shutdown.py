"""The end of a server process: requests in progress are answered, workers end with their parent."""

import asyncio
import json
import signal
import sqlite3
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from graph.shutdown import SEND_AGAIN
from tests.conftest import opened
from tests.support.client import count
from tests.support.process import serving_process, visiting
from tests.support.sockets import FEED, hear, say, socket, stream, subscribe

CREATED = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { username } } }"
PATIENT: dict[str, Any] = {
    "ROSTER_SHUTDOWN_TIMEOUT": "60"
}  # so that no slow machine decides a test


@asynccontextmanager
async def writes_held(database_url: str) -> AsyncIterator[None]:
    """Hold what every write needs, so that writes wait."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(url.database or "", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()
        return
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        yield
    await other.close()


def given(name: str) -> dict[str, Any]:
    return {"input": {"username": name, "email": f"{name}@example.com"}}


def created(name: str) -> dict[str, Any]:
    return {"data": {"createUser": {"user": {"username": name}}}}


def interrupted(outcome: str) -> dict[str, Any]:
    """What a creation is answered that was held up to the end."""
    known = {
        "NOT_DONE": "This write was not done.",
        "UNKNOWN": "It is not known whether this write was done. Send it again with the same "
        "idempotencyKey, or read first what is there.",
    }
    message = f"The server is shutting down and interrupted this request. {known[outcome]}"
    extensions = {"code": "SHUTTING_DOWN", "outcome": outcome}
    return {"errors": [{"message": message, "path": ["createUser"], "extensions": extensions}]}


def refused(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": "SHUTTING_DOWN"}}]}


class Requests:
    """Requests of every kind that a server is in the middle of when it is stopped."""

    def __init__(self, url: str, opened: AsyncExitStack) -> None:
        self.url = url
        self.opened = opened
        self.idle: ClientConnection
        self.live: ClientConnection
        self.post: asyncio.Task[httpx.Response]
        self.events: AsyncIterator[str]
        self.feed: AsyncIterator[str]
        self.body: tuple[StreamReader, StreamWriter]

    async def begin(self) -> None:
        enter = self.opened.enter_async_context
        self.idle = await enter(socket(self.url))
        self.live = await enter(socket(self.url))
        await subscribe(self.live, "feed")
        await subscribe(self.live, "write", CREATED, **given("socket"))
        self.feed = await enter(stream(self.url, FEED))
        self.events = await enter(stream(self.url, CREATED, **given("stream")))
        http = await enter(visiting(self.url))
        body = {"query": CREATED, "variables": given("post")}
        self.post = asyncio.create_task(http.post("/graphql", json=body))
        self.body = await half_sent(self.url)
        # What was sent before this is answered has been read before it.
        assert (await http.get("/health/live")).status_code == 200
        await say(self.live, {"type": "ping"})
        assert await hear(self.live) == {"type": "pong"}


async def half_sent(url: str) -> tuple[StreamReader, StreamWriter]:
    """Send a request without its body, up to where the server waits for the body."""
    to = httpx.URL(url)
    reader, writer = await asyncio.open_connection(to.host, to.port)
    writer.write(
        b"POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: 24\r\nexpect: 100-continue\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return reader, writer


async def closed(connection: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(connection.recv(), 20)
    assert caught.value.rcvd
    return caught.value.rcvd.code


async def rest(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


async def ended(process: Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return output.decode()


async def answer(reader: StreamReader) -> tuple[bytes, Any]:
    text = await reader.read()
    head, _, body = text.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], json.loads(body)


async def test_requests_in_progress_are_answered_before_the_server_stops(database_url: str) -> None:
    async with (
        serving_process(ROSTER_DATABASE_URL=database_url, **PATIENT) as (process, url),
        AsyncExitStack() as opened_here,
        asyncio.timeout(60),
    ):
        requests = Requests(url, opened_here)
        async with writes_held(database_url):
            await requests.begin()
            process.send_signal(signal.SIGTERM)
            assert await closed(requests.idle) == 1012
            await subscribe(requests.live, "late", "{ users { totalCount } }")
            late = {"id": "late", "type": "error", "payload": refused(SEND_AGAIN)["errors"]}
            assert await hear(requests.live) == late
            assert await rest(requests.feed) == ["retry: 1000"]
            assert not requests.post.done()
        response = await requests.post
        assert (response.status_code, response.json()) == (200, created("post"))
        data = json.dumps(created("stream"), separators=(",", ":"))
        assert await rest(requests.events) == [
            "event: next", f"data: {data}", "event: complete", "data:"
        ]  # fmt: skip
        payload = created("socket")
        assert await hear(requests.live) == {"id": "write", "type": "next", "payload": payload}
        assert await hear(requests.live) == {"id": "write", "type": "complete"}
        assert await closed(requests.live) == 1012
        reader, writer = requests.body
        writer.write(b'{"query":"{__typename}"}')
        assert await answer(reader) == (b"HTTP/1.1 200 OK", {"data": {"__typename": "Query"}})
        writer.close()
        log = await ended(process)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in log
    assert "error" not in log.lower()
    async with opened(database_url) as database:
        assert await count(database) == (3, 3)


async def test_requests_that_outlive_the_grace_period_get_an_error_with_a_code(
    database_url: str, dialect: str
) -> None:
    settings: dict[str, Any] = {
        "ROSTER_DATABASE_URL": database_url,
        "ROSTER_SHUTDOWN_TIMEOUT": "0.5",
    }
    async with (
        serving_process(**settings) as (process, url),
        AsyncExitStack() as opened_here,
        asyncio.timeout(60),
        writes_held(database_url),
    ):
        requests = Requests(url, opened_here)
        await requests.begin()
        process.send_signal(signal.SIGTERM)
        assert await closed(requests.idle) == 1012
        assert await rest(requests.feed) == ["retry: 1000"]
        # A statement that may be the whole transaction runs on PostgreSQL for each of them; on
        # SQLite for one, and the others are in line behind it.
        response = await requests.post
        answers = [response.json()]
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        begun, data, *end = await rest(requests.events)
        assert [begun, *end] == ["event: next", "event: complete", "data:"]
        answers.append(json.loads(data.removeprefix("data: ")))
        message = await hear(requests.live)
        assert (message["id"], message["type"]) == ("write", "error")
        answers.append({"errors": message["payload"]})
        waits = "NOT_DONE" if dialect == "sqlite" else "UNKNOWN"
        expected = sorted(["UNKNOWN", waits, waits])
        outcomes = [told["errors"][0]["extensions"]["outcome"] for told in answers]
        assert sorted(outcomes) == expected
        assert answers == [interrupted(outcome) for outcome in outcomes]
        assert await closed(requests.live) == 1012
        reader, writer = requests.body
        unavailable = b"HTTP/1.1 503 Service Unavailable"
        assert await answer(reader) == (unavailable, refused(SEND_AGAIN))
        writer.close()
        log = await ended(process)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in log
    assert "error" not in log.lower()


async def test_requests_of_a_batch_behind_the_one_that_was_interrupted_are_not_executed(
    database_url: str,
) -> None:
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url, "ROSTER_MAX_BATCH_SIZE": "2"}
    async with (
        serving_process(**settings, ROSTER_SHUTDOWN_TIMEOUT="0.5") as (process, url),
        visiting(url) as http,
        asyncio.timeout(60),
        writes_held(database_url),
    ):
        batch = [{"query": CREATED, "variables": given(name)} for name in ("first", "second")]
        post = asyncio.create_task(http.post("/graphql", json=batch))
        assert (await http.get("/health/live")).status_code == 200  # so that the other is read
        process.send_signal(signal.SIGTERM)
        response = await post
        assert response.status_code == 200
        assert response.json() == [interrupted("UNKNOWN"), refused(SEND_AGAIN)]
        await ended(process)


async def test_a_second_ctrl_c_ends_the_grace_period(tmp_path: Path) -> None:
    async with (
        serving_process(cwd=tmp_path, ROSTER_SHUTDOWN_TIMEOUT="600") as (process, url),
        asyncio.timeout(60),
        socket(url) as idle,
    ):
        reader, writer = await half_sent(url)
        process.send_signal(signal.SIGINT)
        assert await closed(idle) == 1012
        process.send_signal(signal.SIGINT)
        unavailable = b"HTTP/1.1 503 Service Unavailable"
        assert await answer(reader) == (unavailable, refused(SEND_AGAIN))
        writer.close()
        await ended(process)


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(stat.parent.name))
    return found


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the end of a process that is not our own is not told
        await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_workers_serve(url: str, process: Process) -> set[int]:
    """Wait until the server answers; give the processes that it consists of besides the first."""
    async with visiting(url) as http:
        while True:
            with suppress(httpx.TransportError):
                assert (await http.get("/health/live")).status_code == 200
                return children(process.pid)
            await asyncio.sleep(0.05)


async def test_workers_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ROSTER_WORKERS": "2", "ROSTER_SHUTDOWN_TIMEOUT": "1"}
    async with (
        serving_process(cwd=tmp_path, **settings) as (process, url),
        asyncio.timeout(60),
    ):
        workers = await until_workers_serve(url, process)
        assert len(workers) >= 2
        process.kill()
        await until(lambda: not any(runs(worker) for worker in workers))
        await process.wait()
    async with visiting(url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/health/live")


async def test_workers_answer_requests_in_progress_when_their_parent_was_killed(
    database_url: str,
) -> None:
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url, "ROSTER_WORKERS": "2"}
    async with (
        serving_process(**settings, **PATIENT) as (process, url),
        AsyncExitStack() as opened_here,
        asyncio.timeout(60),
    ):
        workers = await until_workers_serve(url, process)
        live = await opened_here.enter_async_context(socket(url))
        async with writes_held(database_url):
            await subscribe(live, "write", CREATED, **given("socket"))
            await say(live, {"type": "ping"})
            assert await hear(live) == {"type": "pong"}
            process.kill()
            await until(lambda: not runs(process.pid))
        payload = created("socket")
        assert await hear(live) == {"id": "write", "type": "next", "payload": payload}
        assert await hear(live) == {"id": "write", "type": "complete"}
        assert await closed(live) == 1012
        await until(lambda: not any(runs(worker) for worker in workers))
        await process.wait()


async def test_a_server_of_workers_that_stops_takes_no_more_connections(tmp_path: Path) -> None:
    """None waits in the queue of a socket from which nothing takes connections any more."""
    async with (
        serving_process(cwd=tmp_path, ROSTER_WORKERS="2", **PATIENT) as (process, url),
        asyncio.timeout(60),
    ):
        await until_workers_serve(url, process)
        reader, writer = await half_sent(url)
        process.send_signal(signal.SIGTERM)
        async with visiting(url) as http:
            while True:
                try:
                    await http.get("/health/live", timeout=30)
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                    break
        writer.write(b'{"query":"{__typename}"}')  # for which the worker still waits
        assert await answer(reader) == (b"HTTP/1.1 200 OK", {"data": {"__typename": "Query"}})
        writer.close()
        log = await ended(process)
    assert "Traceback" not in log
