"""Subscribers for the tests: over a WebSocket, and over Server-Sent Events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.process import http_client

PROTOCOL = "graphql-transport-ws"
FEED = """subscription ($after: String, $filter: UserEventFilter) {
  userEvents(after: $after, filter: $filter) { cursor type userId versionAfter } }"""


def address(url: str) -> str:
    return url.replace("http://", "ws://") + "/graphql"


@asynccontextmanager
async def socket(url: str, *, init: bool = True) -> AsyncIterator[ClientConnection]:
    # With a queue that fills up, this client would not see the server's answer to its close.
    async with connect(
        address(url),
        subprotocols=[PROTOCOL],  # type: ignore[list-item]
        max_queue=None,
    ) as connection:
        if init:
            await send_message(connection, {"type": "connection_init"})
            assert await receive_message(connection) == {"type": "connection_ack"}
        yield connection


async def send_message(connection: ClientConnection, message: Any) -> None:
    await connection.send(message if isinstance(message, str | bytes) else json.dumps(message))


async def receive_message(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(60):
        message: dict[str, Any] = json.loads(await connection.recv())
    return message


async def closed(connection: Any) -> tuple[int, str]:
    """Returns the close code and reason, and ignores earlier messages."""
    code, reason, _ = await until_closed(connection)
    return code, reason


async def until_closed(connection: Any) -> tuple[int, str, list[str]]:
    messages = []
    try:
        async with asyncio.timeout(60):
            while True:
                messages.append(await connection.recv())
    except ConnectionClosed as end:
        assert end.rcvd is not None  # noqa: PT017 - the close is what is tested
        return end.rcvd.code, end.rcvd.reason, messages


async def subscribe(
    connection: ClientConnection, id_: str = "1", query: str = FEED, **variables: Any
) -> None:
    payload = {"query": query, "variables": variables}
    await send_message(connection, {"id": id_, "type": "subscribe", "payload": payload})


async def event(connection: ClientConnection) -> dict[str, Any]:
    """Returns the next message, which must be an event."""
    message = await receive_message(connection)
    assert message["type"] == "next", message
    assert set(message["payload"]) == {"data"}, message
    found: dict[str, Any] = message["payload"]["data"]["userEvents"]
    return found


async def ask(url: str, query: str, **variables: Any) -> Any:
    async with http_client(url) as http:
        answer = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
    assert set(answer) == {"data"}, answer
    return next(iter(answer["data"].values()))


@asynccontextmanager
async def stream(
    url: str, query: str = FEED, **variables: Any
) -> AsyncIterator[AsyncIterator[str]]:
    """Yields the lines of an event stream without ids and keep-alives."""

    async def lines() -> AsyncIterator[str]:
        async for line in response.aiter_lines():
            if line and not line.startswith((":", "id: ")):
                yield line

    body = {"query": query, "variables": variables}
    headers = {"accept": "text/event-stream"}
    async with (
        http_client(url) as http,
        http.stream("POST", "/graphql", json=body, headers=headers) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield lines()
