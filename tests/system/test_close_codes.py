"""WebSocket: violations of graphql-transport-ws have close codes, rejected operations do not."""

from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect

from tests.support.client import CREATE
from tests.support.sockets import (
    FEED,
    address,
    ask,
    closed,
    event,
    receive_message,
    send_message,
    socket,
    subscribe,
)

SETTINGS = {
    "ROSTER_MAX_OPERATIONS_PER_CONNECTION": "2",
    "ROSTER_MAX_CONNECTIONS_PER_CALLER": "3",
}
SUBSCRIBE = {"id": "1", "type": "subscribe", "payload": {"query": FEED}}
VIEWER = "{ viewer { id } }"
NO_VIEWER = {"data": {"viewer": None}}


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "[]",
        "null",
        "1",
        '"x"',
        "{}",
        b"{}",
        {"type": 1},
        {"type": "start", "id": "1", "payload": {"query": FEED}},
        {"type": "subscribe"},
        {"type": "subscribe", "id": 1, "payload": {"query": FEED}},
        {"type": "subscribe", "id": "", "payload": {"query": FEED}},
        {"type": "subscribe", "id": "1"},
        {"type": "subscribe", "id": "1", "payload": None},
        {"type": "subscribe", "id": "1", "payload": {"query": None}},
        {"type": "subscribe", "id": "1", "payload": {"query": FEED, "variables": [1]}},
        {"type": "subscribe", "id": "1", "payload": {"query": FEED, "operationName": 1}},
        {"type": "complete"},
        pytest.param("[" * 100_000, id="deeply nested"),
    ],
    ids=lambda message: repr(message)[:60],
)
async def test_invalid_message_closes_the_connection_with_4400(
    server_url: str, message: Any
) -> None:
    async with socket(server_url) as live:
        await send_message(live, message)
        assert (await closed(live))[0] == 4400


async def test_invalid_init_payload_closes_the_connection_with_4400(server_url: str) -> None:
    async with socket(server_url, init=False) as live:
        await send_message(live, {"type": "connection_init", "payload": []})
        assert (await closed(live))[0] == 4400


async def test_subscribe_before_init_closes_the_connection_with_4401(server_url: str) -> None:
    async with socket(server_url, init=False) as live:
        await send_message(live, SUBSCRIBE)
        assert await closed(live) == (4401, "Unauthorized")


async def test_second_init_closes_the_connection_with_4429(server_url: str) -> None:
    async with socket(server_url) as live:
        await send_message(live, {"type": "connection_init"})
        assert await closed(live) == (4429, "Too many initialisation requests")


async def test_id_of_a_running_operation_closes_the_connection_with_4409(server_url: str) -> None:
    async with socket(server_url) as live:
        await send_message(live, SUBSCRIBE)
        await send_message(live, SUBSCRIBE)
        assert await closed(live) == (4409, "Subscriber for 1 already exists")


async def test_too_large_message_closes_the_connection_with_1009(server_url: str) -> None:
    async with socket(server_url) as live:
        await send_message(live, "x" * 300_000)
        assert (await closed(live))[0] == 1009


@pytest.mark.parametrize("protocols", [["graphql-ws"], None])
async def test_unsupported_subprotocol_closes_the_connection_with_4406(
    server_url: str, protocols: Any
) -> None:
    async with connect(address(server_url), subprotocols=protocols) as live:
        assert (await closed(live))[0] == 4406


async def test_connection_beyond_the_limit_is_closed_with_1013(server_url: str) -> None:
    async with (
        socket(server_url),
        socket(server_url),
        socket(server_url),
        socket(server_url, init=False) as fourth,
    ):
        await send_message(fourth, {"type": "connection_init"})
        assert await closed(fourth) == (1013, "Too many sockets are open")


async def test_ping_is_answered_with_its_payload(server_url: str) -> None:
    async with socket(server_url) as live:
        await send_message(live, {"type": "ping", "payload": {"x": 1}})
        assert await receive_message(live) == {"type": "pong", "payload": {"x": 1}}


async def test_operation_beyond_the_limit_of_a_connection_is_rejected_until_one_completes(
    server_url: str,
) -> None:
    async with socket(server_url) as live:
        for id_ in ("1", "2", "3"):
            await subscribe(live, id_)
        rejected = await receive_message(live)
        assert (rejected["id"], rejected["type"]) == ("3", "error")
        assert rejected["payload"][0]["extensions"] == {"code": "TOO_MANY_OPERATIONS"}
        await send_message(live, {"id": "2", "type": "complete"})
        await subscribe(live, "2", VIEWER)
        assert await receive_message(live) == {"id": "2", "type": "next", "payload": NO_VIEWER}
        assert await receive_message(live) == {"id": "2", "type": "complete"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { viewer { id } } query B { viewer { id } }", "OPERATION_RESOLUTION_FAILURE"),
        ('subscription { userEvents(after: "x") { id } }', "INVALID_CURSOR"),
        ("subscription ($n: Int!) { userEvents { id } }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_rejected_operation_leaves_the_others_of_its_connection_active(
    server_url: str, query: str, code: str
) -> None:
    async with socket(server_url) as live:
        await subscribe(live, "1")
        await subscribe(live, "2", query)
        error = await receive_message(live)
        assert (error["id"], error["type"]) == ("2", "error"), error
        assert error["payload"][0]["extensions"] == {"code": code}
        await subscribe(live, "2", VIEWER)
        assert await receive_message(live) == {"id": "2", "type": "next", "payload": NO_VIEWER}
        assert await receive_message(live) == {"id": "2", "type": "complete"}
        name = uuid4().hex
        payload = await ask(
            server_url, CREATE, input={"username": name, "email": f"{name}@example.com"}
        )
        assert payload["errors"] == []
        assert (await event(live))["type"] == "CREATED"
