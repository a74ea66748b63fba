"""The messages that one connection sends, with services that a test controls."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import OperationType

from graph.http.origins import Origins
from graph.limits.throttle import RateLimiter
from graph.observation import Operations
from graph.protocol.errors import RequestError
from graph.shutdown import Shutdown
from graph.websocket import operation
from graph.websocket.connection import ConnectionLimits
from graph.websocket.endpoint import PROTOCOL, WebSocketEndpoint
from graph.websocket.operation import Services

EXPIRED = RequestError("UNAUTHENTICATED", "Expired", 401)


class ControlledServices:
    """A guard that rejects the caller, and operations that end without results, when told to.

    The query of an operation is its type. `started` are the types of those that were executed, and
    `contexts` the contexts of all.
    """

    def __init__(self) -> None:
        self.rejects, self.ends, self.runs = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)
        self.started: list[str] = []
        self.contexts: list[Any] = []

    def is_known(self, *_: Any) -> bool:
        return True

    async def authenticate(self, *_: Any) -> Any:
        return SimpleNamespace(throttled_as="1", token="t", request_id="r")  # noqa: S106

    async def reauthenticate(self, _: Any, caller: Any) -> Any:
        self.contexts.append(SimpleNamespace(**vars(caller)))
        return self.contexts[-1]

    async def wait_until_rejected(self, *_: Any) -> RequestError:
        await self.rejects.wait()
        return EXPIRED

    async def prepare(self, request: Any, _: Any) -> Any:
        return SimpleNamespace(type=OperationType(request.query))

    async def results(self, running: Any, _: Any) -> AsyncIterator[Any]:
        self.started.append(running.type.value)
        self.runs.release()
        await self.ends.wait()
        nothing: list[Any] = []
        for result in nothing:
            yield result


class Socket:
    """The client's side of a socket. The server sends no payload before `can_send` is set."""

    def __init__(self) -> None:
        self.received, self.sent = asyncio.Queue[Any](), list[Any]()
        self.is_sending, self.can_send = asyncio.Event(), asyncio.Event()

    def send(self, **message: Any) -> None:
        self.received.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def subscribe(self, id_: str, query: str) -> None:
        self.send(type="subscribe", id=id_, payload={"query": query})

    async def receive(self, message: Any) -> None:
        self.sent.append(json.loads(message["text"]) if "text" in message else message)
        if "payload" in self.sent[-1]:
            self.is_sending.set()
            await self.can_send.wait()


@asynccontextmanager
async def connected(given: Any) -> AsyncIterator[tuple[Socket, asyncio.Task[None]]]:
    """Yield the client's side, and the task of the server, which has ended afterwards."""
    services = Services(given, RateLimiter(None, 1, 1), given, given, Shutdown(60), Operations())
    limits = ConnectionLimits(60, 60, operations=3)
    endpoint = WebSocketEndpoint(services, Origins(None, frozenset()), limits)
    socket = Socket()
    socket.received.put_nowait({"type": "websocket.connect"})
    socket.send(type="connection_init")
    scope = {"type": "websocket", "headers": [], "subprotocols": [PROTOCOL]}
    async with asyncio.timeout(60):
        serving = asyncio.create_task(endpoint(scope, socket.received.get, socket.receive))
        yield socket, serving
        socket.received.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving


async def other_tasks_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_operations_of_a_rejected_caller_end_with_one_message_each() -> None:
    given = ControlledServices()
    async with connected(given) as (socket, serving):
        socket.subscribe("1", "query")
        socket.subscribe("2", "query")
        await given.runs.acquire()
        await given.runs.acquire()
        given.rejects.set()
        await socket.is_sending.wait()
        given.ends.set()
        await other_tasks_run()  # an operation that was not cancelled ends here
        socket.can_send.set()
        await serving
    errors = [{"id": id_, "type": "error", "payload": EXPIRED.errors} for id_ in "12"]
    assert [message["type"] for message in socket.sent] == [
        "websocket.accept",
        "connection_ack",
        "error",
        "error",
        "websocket.close",
    ]
    assert socket.sent[2:4] == errors
    assert socket.sent[4]["code"] == 4401


def _begins(given: ControlledServices, _: Socket) -> None:
    given.contexts[0].on_begun()


def _ends(given: ControlledServices, _: Socket) -> None:
    given.ends.set()


def _is_completed(_: ControlledServices, socket: Socket) -> None:
    socket.send(type="complete", id="1")


@pytest.mark.parametrize("happens", [_begins, _ends, _is_completed])
async def test_mutation_waits_until_the_subscription_before_it_has_begun(
    happens: Callable[[ControlledServices, Socket], None],
) -> None:
    given = ControlledServices()
    async with connected(given) as (socket, _):
        socket.subscribe("1", "subscription")
        socket.subscribe("2", "mutation")
        socket.subscribe("3", "subscription")  # does not wait
        await given.runs.acquire()
        await given.runs.acquire()
        await other_tasks_run()
        assert given.started == ["subscription", "subscription"]
        happens(given, socket)
        await given.runs.acquire()
        assert given.started[2:] == ["mutation"]


async def test_mutation_does_not_wait_for_the_query_before_it() -> None:
    given = ControlledServices()
    async with connected(given) as (socket, _):
        socket.subscribe("1", "query")
        socket.subscribe("2", "mutation")
        await given.runs.acquire()
        await given.runs.acquire()
        assert given.started == ["query", "mutation"]


async def test_mutation_does_not_wait_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operation, "_BEGIN_SECONDS", 0)
    given = ControlledServices()
    async with connected(given) as (socket, _):
        socket.subscribe("1", "subscription")
        socket.subscribe("2", "mutation")
        await given.runs.acquire()
        await given.runs.acquire()
        assert given.started == ["subscription", "mutation"]
