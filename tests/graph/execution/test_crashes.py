"""Unexpected exceptions: every transport returns an error with an id that is in the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from graph.auth.guard import Guard
from graph.execution.executor import OperationExecutor
from graph.settings import Settings
from tests.support.client import Client, count, serving

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
CRASHED = "Internal server error."
COUNT = "{ users { totalCount } }"


def crash(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("secret /etc/path")


def assert_internal_error(errors: list[dict[str, Any]], logs: list[Any]) -> None:
    """Asserts a single internal error whose id is in the log once, with the exception."""
    [error] = errors
    assert set(error) == {"message", "extensions"}
    assert error["message"] == CRASHED
    assert set(error["extensions"]) == {"code", "id"}
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
    [entry] = [entry for entry in logs if entry.get("error_id") == error["extensions"]["id"]]
    assert isinstance(entry["exc_info"], ZeroDivisionError)
    logs.clear()


def crashing_places() -> dict[str, tuple[type, str]]:
    return {"gate": (Guard, "_context"), "preparation": (OperationExecutor, "prepare")}


@pytest.mark.parametrize("place", ["gate", "preparation", "execution"])
@pytest.mark.parametrize(
    "accept", ["application/json", "application/graphql-response+json", "text/event-stream"]
)
async def test_exception_in_a_request_is_an_internal_error_with_an_id(
    client: Client, accept: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, name = {**crashing_places(), "execution": (OperationExecutor, "run")}[place]
    monkeypatch.setattr(kind, name, crash)
    headers = {"accept": accept, "x-request-id": "req-1"}
    with capture_logs() as logs:
        answer = await client.http.post("/graphql", json={"query": COUNT}, headers=headers)
    assert answer.headers["x-request-id"] == "req-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    assert [entry["request_id"] for entry in logs] in (["req-1"], [None])
    if place == "execution" and accept == "text/event-stream":
        lines = answer.text.split("\n")
        data = next(line for line in lines if line.startswith("data: "))
        assert_internal_error(json.loads(data.removeprefix("data: "))["errors"], logs)
        assert "event: complete" in lines
        return
    assert answer.status_code == 500
    expected = "application/json" if accept == "text/event-stream" else accept
    assert answer.headers["content-type"] == f"{expected}; charset=utf-8"
    assert_internal_error(answer.json()["errors"], logs)


async def test_exception_in_a_batch_does_not_affect_the_other_requests(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Settings(database_url=database_url, max_batch_size=5)) as client:
        prepare = OperationExecutor.prepare

        async def crash_on_one(execution: OperationExecutor, request: Any, context: Any) -> Any:
            if "crash" in request.query:
                crash()
            return await prepare(execution, request, context)

        monkeypatch.setattr(OperationExecutor, "prepare", crash_on_one)
        create = (
            'mutation { createUser(input: {username: "ada", email: "a@b.example"}) '
            "{ user { username } } }"
        )
        batch = [{"query": text} for text in (create, "{ crash: __typename }", COUNT)]
        with capture_logs() as logs:
            answer = await client.http.post("/graphql", json=batch)
        first, second, third = answer.json()
        assert first == {"data": {"createUser": {"user": {"username": "ada"}}}}
        assert_internal_error(second["errors"], logs)
        assert third == {"data": {"users": {"totalCount": 1}}}
        assert await count(client.database) == (1, 1)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_exception_in_a_health_check_is_json(
    client: Client, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.database, "ping", crash)
    with capture_logs() as logs:
        answer = await client.http.request(method, "/health/ready")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.headers["x-request-id"]) == 32
    if method == "GET":
        assert_internal_error(answer.json()["errors"], logs)


class Socket:
    """A WebSocket as the application sees it, without a server between."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def say(self, message: Any) -> None:
        text = json.dumps(message)
        await self.incoming.put({"type": "websocket.receive", "text": text, "bytes": None})

    async def next(self) -> Any:
        """Returns the next message, or the code and reason of a close."""
        message = await asyncio.wait_for(self.outgoing.get(), 60)
        if message["type"] == "websocket.send":
            return json.loads(message["text"])
        assert message["type"] == "websocket.close", message
        return message["code"], message["reason"]


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Socket]:
    socket = Socket()
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "scheme": "ws",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["graphql-transport-ws"],
        "extensions": {},
    }
    await socket.incoming.put({"type": "websocket.connect"})
    running = asyncio.create_task(client.app(scope, socket.incoming.get, socket.outgoing.put))  # type: ignore[arg-type] # queues of messages
    try:
        yield socket
    finally:
        await socket.incoming.put({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(running, 60)


async def test_exception_in_a_websocket_closes_it_with_1011(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "authenticate", crash)
    with capture_logs() as logs:
        async with connected(client) as socket:
            assert (await asyncio.wait_for(socket.outgoing.get(), 60))["type"] == "websocket.accept"
            await socket.say({"type": "connection_init"})
            assert await socket.next() == (1011, CRASHED)
    [entry] = logs
    assert isinstance(entry["exc_info"], ZeroDivisionError)


async def test_exception_before_the_handshake_closes_the_websocket(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.websocket.endpoint.WebSocket.accept", crash)
    with capture_logs() as logs:
        async with connected(client) as socket:
            assert await socket.next() == (1011, CRASHED)
    [entry] = logs
    assert isinstance(entry["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize("place", ["gate", "preparation", "execution"])
@pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError])
async def test_exception_in_an_operation_keeps_the_websocket_open(
    client: Client, place: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A RuntimeError is also what a server raises for a socket that is gone."""
    kind, name = {**crashing_places(), "execution": (OperationExecutor, "run")}[place]

    def fail(*_: object, **__: object) -> Any:
        raise error("secret /etc/path")

    with capture_logs() as logs:
        async with connected(client) as socket:
            assert (await asyncio.wait_for(socket.outgoing.get(), 60))["type"] == "websocket.accept"
            await socket.say({"type": "connection_init"})
            assert await socket.next() == {"type": "connection_ack"}
            with monkeypatch.context() as patched:
                patched.setattr(kind, name, fail)
                await socket.say({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
                message = await socket.next()
            assert (message["id"], message["type"]) == ("1", "error")
            [internal_error] = message["payload"]
            assert (internal_error["message"], internal_error["extensions"]["code"]) == (
                CRASHED,
                "INTERNAL_ERROR",
            )
            [entry] = logs
            assert entry["error_id"] == internal_error["extensions"]["id"]
            await socket.say({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
            message = await socket.next()
            assert message["payload"] == {"data": {"users": {"totalCount": 0}}}


async def test_no_path_or_method_gets_a_plain_text_response(client: Client) -> None:
    for path in ("/", "/health", "/health/live", "/health/ready", "/graphql", "/graphql/", "/no"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"):
            answer = await client.http.request(method, path)
            kind = answer.headers.get("content-type", "")
            assert answer.status_code < 500, (method, path)
            assert not kind.startswith("text/plain"), (method, path, answer.text)
