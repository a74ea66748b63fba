"""The messages that one connection sends, with services that a test controls."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from graphql import OperationType

from graph.http.origins import Origins
from graph.limits.throttle import RateLimiter
from graph.observation import Operations
from graph.protocol.errors import RequestError
from graph.shutdown import Shutdown
from graph.websocket.connection import ConnectionLimits
from graph.websocket.endpoint import PROTOCOL, WebSocketEndpoint
from graph.websocket.operation import Services

EXPIRED = RequestError("UNAUTHENTICATED", "Expired", 401)


class ControlledServices:
    """A guard that rejects the caller, and operations that end without results, when told to."""

    def __init__(self) -> None:
        self.rejects, self.ends, self.runs = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)

    def is_known(self, *_: Any) -> bool:
        return True

    async def authenticate(self, *_: Any) -> Any:
        return SimpleNamespace(throttled_as="1", token="t", request_id="r")  # noqa: S106

    async def reauthenticate(self, _: Any, caller: Any) -> Any:
        return caller

    async def wait_until_rejected(self, *_: Any) -> RequestError:
        await self.rejects.wait()
        return EXPIRED

    async def prepare(self, *_: Any) -> Any:
        return SimpleNamespace(type=OperationType.QUERY)

    async def results(self, *_: Any) -> AsyncIterator[Any]:
        self.runs.release()
        await self.ends.wait()
        nothing: list[Any] = []
        for result in nothing:
            yield result


async def test_operations_of_a_rejected_caller_end_with_one_message_each() -> None:
    given: Any = ControlledServices()
    services = Services(given, RateLimiter(None, 1, 1), given, given, Shutdown(60), Operations())
    endpoint = WebSocketEndpoint(
        services, Origins(None, frozenset()), ConnectionLimits(60, 60, operations=2)
    )
    received, sent = asyncio.Queue[Any](), list[Any]()
    is_sending, can_send = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(json.loads(message["text"]) if "text" in message else message)
        if "payload" in sent[-1]:
            is_sending.set()
            await can_send.wait()

    received.put_nowait({"type": "websocket.connect"})
    requests = [{"type": "subscribe", "id": id_, "payload": {"query": "{a}"}} for id_ in "12"]
    for request in ({"type": "connection_init"}, *requests):
        received.put_nowait({"type": "websocket.receive", "text": json.dumps(request)})
    scope = {"type": "websocket", "headers": [], "subprotocols": [PROTOCOL]}
    async with asyncio.timeout(60):
        socket = asyncio.create_task(endpoint(scope, received.get, send))
        await given.runs.acquire()
        await given.runs.acquire()
        given.rejects.set()
        await is_sending.wait()
        given.ends.set()
        for _ in range(10):  # an operation that was not cancelled ends here
            await asyncio.sleep(0)
        can_send.set()
        await socket
    errors = [{"id": id_, "type": "error", "payload": EXPIRED.errors} for id_ in "12"]
    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "connection_ack",
        "error",
        "error",
        "websocket.close",
    ]
    assert sent[2:4] == errors
    assert sent[4]["code"] == 4401
