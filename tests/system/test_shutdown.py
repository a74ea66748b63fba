"""The end of a server process: requests in progress are answered, workers end with their parent."""

import asyncio
import json
import os
import signal
import sqlite3
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
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
from tests.support.process import http_client, serving_process
from tests.support.sockets import FEED, receive_message, send_message, socket, stream, subscribe

CREATED = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { username } } }"
WAITING_LOCKS = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"
PATIENT: dict[str, Any] = {"ROSTER_SHUTDOWN_TIMEOUT": "60"}  # so that a slow machine fails no test


Wait = Callable[[Process, int], Awaitable[None]]


@asynccontextmanager
async def writes_held(database_url: str) -> AsyncIterator[Wait]:
    """Holds a lock that every write needs.

    Yields a function that waits until so many writes of a server wait for the lock.
    """
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(url.database or "", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield until_sqlite_waits
        connection.close()
        return
    other = await asyncpg.connect(database_url)

    async def until_writes_wait(_: Process, number: int) -> None:
        while await other.fetchval(WAITING_LOCKS) != number:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)

    async with other.transaction():
        await other.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        yield until_writes_wait
    await other.close()


async def until_sqlite_waits(process: Process, _: int) -> None:
    """Waits until one write waits inside SQLite: the others of a process wait behind it."""
    threads = Path(f"/proc/{process.pid}/task")
    await until(lambda: any("sleep" in file.read_text() for file in threads.glob("*/wchan")))


def create_variables(name: str) -> dict[str, Any]:
    return {"input": {"username": name, "email": f"{name}@example.com"}}


def create_response(name: str) -> dict[str, Any]:
    return {"data": {"createUser": {"user": {"username": name}}}}


def interrupted_response(outcome: str) -> dict[str, Any]:
    """The response to a creation that the shutdown interrupted."""
    known = {
        "NOT_DONE": "This write was not done.",
        "UNKNOWN": "It is not known whether this write was done. Send it again with the same "
        "idempotencyKey, or read first what is there.",
    }
    message = f"The server is shutting down and interrupted this request. {known[outcome]}"
    extensions = {"code": "SHUTTING_DOWN", "outcome": outcome}
    return {"errors": [{"message": message, "path": ["createUser"], "extensions": extensions}]}


def error_response(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": "SHUTTING_DOWN"}}]}


class Requests:
    """Requests of every kind that are in progress when a server is stopped."""

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
        await subscribe(self.live, "write", CREATED, **create_variables("socket"))
        self.feed = await enter(stream(self.url, FEED))
        self.events = await enter(stream(self.url, CREATED, **create_variables("stream")))
        http = await enter(http_client(self.url))
        body = {"query": CREATED, "variables": create_variables("post")}
        self.post = asyncio.create_task(http.post("/graphql", json=body))
        self.body = await half_sent(self.url)
        # When this is answered, the server has read what was sent before.
        assert (await http.get("/health/live")).status_code == 200
        await send_message(self.live, {"type": "ping"})
        assert await receive_message(self.live) == {"type": "pong"}

    async def body_response(self, body: bytes = b"") -> tuple[bytes, Any]:
        """Sends the missing body, if any; returns the status line and the response's body."""
        reader, writer = self.body
        writer.write(body)
        response = await read_response(reader)
        writer.close()
        return response

    async def assert_writes_succeed(self) -> None:
        response = await self.post
        assert (response.status_code, response.json()) == (200, create_response("post"))
        data = json.dumps(create_response("stream"), separators=(",", ":"))
        assert await remaining_lines(self.events) == [
            "event: next", f"data: {data}", "event: complete", "data:"
        ]  # fmt: skip
        await assert_socket_write_succeeds(self.live)

    async def interrupted_writes(self) -> list[dict[str, Any]]:
        """Returns the answers to the writes, each reported as an error by its transport."""
        response = await self.post
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        begun, data, *end = await remaining_lines(self.events)
        assert [begun, *end] == ["event: next", "event: complete", "data:"]
        message = await receive_message(self.live)
        assert (message["id"], message["type"]) == ("write", "error")
        streamed = json.loads(data.removeprefix("data: "))
        return [response.json(), streamed, {"errors": message["payload"]}]


async def assert_socket_write_succeeds(live: ClientConnection) -> None:
    payload = create_response("socket")
    assert await receive_message(live) == {"id": "write", "type": "next", "payload": payload}
    assert await receive_message(live) == {"id": "write", "type": "complete"}


async def half_sent(url: str) -> tuple[StreamReader, StreamWriter]:
    """Sends a request without its body, until the server waits for the body."""
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
        await asyncio.wait_for(connection.recv(), 60)
    assert caught.value.rcvd
    return caught.value.rcvd.code


async def remaining_lines(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


async def log_after_exit(process: Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()


async def assert_stops_without_errors(process: Process) -> None:
    log = await log_after_exit(process)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in log
    assert "error" not in log.lower()


async def read_response(reader: StreamReader) -> tuple[bytes, Any]:
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
            late = {"id": "late", "type": "error", "payload": error_response(SEND_AGAIN)["errors"]}
            assert await receive_message(requests.live) == late
            assert await remaining_lines(requests.feed) == ["retry: 1000"]
            assert not requests.post.done()
        await requests.assert_writes_succeed()
        assert await closed(requests.live) == 1012
        assert await requests.body_response(b'{"query":"{__typename}"}') == (
            b"HTTP/1.1 200 OK",
            {"data": {"__typename": "Query"}},
        )
        await assert_stops_without_errors(process)
    async with opened(database_url) as database:
        assert await count(database) == (3, 3)


@pytest.mark.parametrize("number", ["1", "2"])
async def test_draining_server_is_not_ready_and_serves_new_requests(
    tmp_path: Path, number: str
) -> None:
    async with (
        serving_process(
            cwd=tmp_path, ROSTER_DRAIN_PERIOD="600", ROSTER_WORKERS=number, **PATIENT
        ) as (process, url),
        asyncio.timeout(60),
    ):
        workers = await until_workers_serve(url, process) or {process.pid}
        async with socket(url) as before, http_client(url) as http:
            ready = {"status": "ok", "database": "ok"}
            assert (await http.get("/health/ready")).json() == ready
            process.send_signal(signal.SIGTERM)
            while (answer := await http.get("/health/ready")).status_code == 200:
                assert answer.json() == ready
            assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
            assert answer.headers["connection"] == "close"
            for path in ("/health/live", "/health/started"):
                assert (await http.get(path)).json() == {"status": "ok"}
            answer = await http.post("/graphql", json={"query": "{ __typename }"})
            assert answer.json() == {"data": {"__typename": "Query"}}
            async with socket(url) as during:
                for connection in (before, during):
                    await subscribe(connection, "1", "{ __typename }")
                    data = {"data": {"__typename": "Query"}}
                    message = {"id": "1", "type": "next", "payload": data}
                    assert await receive_message(connection) == message
                    assert await receive_message(connection) == {"id": "1", "type": "complete"}
                ending = asyncio.create_task(until(lambda: not terminated(workers)))
                assert await closed(before) == 1012
                assert await closed(during) == 1012
        await ending
        log = await log_after_exit(process)
    async with http_client(url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/health/live")
    assert "Traceback" not in log


async def test_ctrl_c_skips_the_drain_period(tmp_path: Path) -> None:
    async with (
        serving_process(cwd=tmp_path, ROSTER_DRAIN_PERIOD="600", **PATIENT) as (process, url),
        asyncio.timeout(60),
        socket(url) as idle,
    ):
        process.send_signal(signal.SIGINT)
        assert await closed(idle) == 1012
        await log_after_exit(process)


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
    ):
        requests = Requests(url, opened_here)
        async with writes_held(database_url) as until_writes_wait:
            await requests.begin()
            await until_writes_wait(process, 3)
            process.send_signal(signal.SIGTERM)
            assert await closed(requests.idle) == 1012
            assert await remaining_lines(requests.feed) == ["retry: 1000"]
            # On PostgreSQL each write runs a statement that may commit by itself; on SQLite one
            # does, and the others wait behind it.
            answers = await requests.interrupted_writes()
            waits = "NOT_DONE" if dialect == "sqlite" else "UNKNOWN"
            expected = sorted(["UNKNOWN", waits, waits])
            outcomes = [each["errors"][0]["extensions"]["outcome"] for each in answers]
            assert sorted(outcomes) == expected
            assert answers == [interrupted_response(outcome) for outcome in outcomes]
            assert await closed(requests.live) == 1012
            unavailable = b"HTTP/1.1 503 Service Unavailable"
            assert await requests.body_response() == (unavailable, error_response(SEND_AGAIN))
        await assert_stops_without_errors(process)


async def test_requests_of_a_batch_after_an_interrupted_one_are_not_executed(
    database_url: str,
) -> None:
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url, "ROSTER_MAX_BATCH_SIZE": "2"}
    async with (
        serving_process(**settings, ROSTER_SHUTDOWN_TIMEOUT="0.5") as (process, url),
        http_client(url) as http,
        asyncio.timeout(60),
    ):
        async with writes_held(database_url) as until_writes_wait:
            batch = [
                {"query": CREATED, "variables": create_variables(name)}
                for name in ("first", "second")
            ]
            post = asyncio.create_task(http.post("/graphql", json=batch))
            await until_writes_wait(process, 1)
            process.send_signal(signal.SIGTERM)
            response = await post
            assert response.status_code == 200
            assert response.json() == [interrupted_response("UNKNOWN"), error_response(SEND_AGAIN)]
        await log_after_exit(process)


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
        assert await read_response(reader) == (unavailable, error_response(SEND_AGAIN))
        writer.close()
        await log_after_exit(process)


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(stat.parent.name))
    return found


def terminated(pids: set[int]) -> set[int]:
    """Sends SIGTERM to the processes that still run, and returns them."""
    running = {pid for pid in pids if is_running(pid)}
    for pid in running:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGTERM)
    return running


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for processes of others
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_workers_serve(url: str, process: Process) -> set[int]:
    """Waits until the server answers; returns its processes besides the first."""
    async with http_client(url) as http:
        while True:
            with suppress(httpx.TransportError):
                assert (await http.get("/health/live")).status_code == 200
                return children(process.pid)
            await asyncio.sleep(0.05)


async def test_workers_exit_after_their_parent_was_killed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ROSTER_WORKERS": "2", "ROSTER_SHUTDOWN_TIMEOUT": "1"}
    async with (
        serving_process(cwd=tmp_path, **settings) as (process, url),
        asyncio.timeout(60),
    ):
        workers = await until_workers_serve(url, process)
        assert len(workers) >= 2
        process.kill()
        await until(lambda: not any(is_running(worker) for worker in workers))
        await process.wait()
    async with http_client(url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/health/live")


async def test_workers_answer_requests_in_progress_after_their_parent_was_killed(
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
            await subscribe(live, "write", CREATED, **create_variables("socket"))
            await send_message(live, {"type": "ping"})
            assert await receive_message(live) == {"type": "pong"}
            process.kill()
            await until(lambda: not is_running(process.pid))
        await assert_socket_write_succeeds(live)
        assert await closed(live) == 1012
        await until(lambda: not any(is_running(worker) for worker in workers))
        await process.wait()


async def test_stopping_server_with_workers_accepts_no_more_connections(tmp_path: Path) -> None:
    """No connection waits in the queue of a socket that no process accepts from."""
    async with (
        serving_process(cwd=tmp_path, ROSTER_WORKERS="2", **PATIENT) as (process, url),
        asyncio.timeout(60),
    ):
        await until_workers_serve(url, process)
        reader, writer = await half_sent(url)
        process.send_signal(signal.SIGTERM)
        async with http_client(url) as http:
            while True:
                try:
                    await http.get("/health/live", timeout=30)
                except (httpx.NetworkError, httpx.RemoteProtocolError):
                    break
        writer.write(b'{"query":"{__typename}"}')  # the worker still waits for it
        assert await read_response(reader) == (
            b"HTTP/1.1 200 OK",
            {"data": {"__typename": "Query"}},
        )
        writer.close()
        log = await log_after_exit(process)
    assert "Traceback" not in log
