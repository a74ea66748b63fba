"""Observers see each operation of each transport once, with all of its errors."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from graph.app import create_app
from graph.observation import Operations
from graph.settings import Settings
from tests.support.client import Client, serving
from tests.support.observers import Recorder

QUERY = {"query": "query Count { users { totalCount } }"}
CREATE = "mutation Add($input: CreateUserInput!) { createUser(input: $input) { user { id } } }"
SSE = {"accept": "text/event-stream"}
TOKEN = {"authorization": "Bearer unknown"}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def client(database_url: str, recorder: Recorder) -> AsyncIterator[Client]:
    settings = Settings(database_url=database_url, max_batch_size=3, max_depth=5)
    async with serving(settings, [recorder]) as client:
        yield client


async def post(client: Client, body: Any, **headers: str) -> httpx.Response:
    return await client.http.post("/graphql", json=body, headers=headers)


def creating(username: str, **fields: Any) -> dict[str, Any]:
    values = {"username": username, "email": f"{username}@example.com", **fields}
    return {"query": CREATE, "variables": {"input": values}}


async def test_each_transport_reports_an_operation_once(client: Client, recorder: Recorder) -> None:
    await post(client, QUERY)
    await post(client, [QUERY, creating("mia")])
    await post(client, QUERY, **SSE)
    await client.http.get("/graphql", params={"query": "{ users { totalCount } }"})
    query = {"type": "query", "name": "Count"}
    assert list(recorder.take()) == [
        {"transport": "http", **query},
        {"transport": "batch", **query},
        {"transport": "batch", "type": "mutation", "name": "Add"},
        {"transport": "sse", **query},
        {"transport": "http", "type": "query"},
    ]
    assert (len(recorder.started), len(recorder.identified)) == (5, 5)
    assert recorder.responses == [("/graphql", 200)] * 4
    assert recorder.primary.open == 0


async def test_requests_for_pages_and_health_are_no_operations(
    client: Client, recorder: Recorder
) -> None:
    await client.http.get("/graphql", headers={"accept": "text/html"})
    await client.http.get("/health/live")
    await client.http.get("/nowhere")
    assert recorder.started == []
    assert recorder.responses == [("/graphql", 200), ("/health/live", 200), ("/nowhere", 404)]


@pytest.mark.parametrize(
    ("body", "headers", "known"),
    [
        ({"query": "{"}, {}, {"errors": {"GRAPHQL_PARSE_FAILED": 1}}),
        ({"query": "{ a b }"}, {}, {"errors": {"GRAPHQL_VALIDATION_FAILED": 2}}),
        ({"query": "{" * 9 + "}" * 9}, {}, {"errors": {"GRAPHQL_PARSE_FAILED": 1}}),
        ({}, {}, {"errors": {"BAD_REQUEST": 1}}),
        (
            {"query": "query A { users { totalCount } }", "operationName": "B"},
            {},
            {"errors": {"OPERATION_RESOLUTION_FAILURE": 1}},
        ),
        (
            {"query": "query A($n: Int!) { users(first: $n) { totalCount } }"},
            {},
            {"errors": {"GRAPHQL_VALIDATION_FAILED": 1}, "type": "query", "name": "A"},
        ),
        (
            {"query": "subscription S { userEvents { cursor } }"},
            {},
            {"errors": {"SUBSCRIPTION_NOT_STREAMED": 1}, "type": "subscription", "name": "S"},
        ),
        (QUERY, TOKEN, {"errors": {"UNAUTHENTICATED": 1}}),
        (QUERY, {"origin": "https://other.example"}, {"errors": {"CROSS_ORIGIN": 1}}),
        (QUERY, {"accept": "image/png"}, {"errors": {"NOT_ACCEPTABLE": 1}}),
    ],
)
async def test_rejection_is_reported_with_its_code(
    client: Client, recorder: Recorder, body: Any, headers: dict[str, str], known: dict[str, Any]
) -> None:
    await post(client, body, **headers)
    [code] = known["errors"]
    assert list(recorder.take()) == [{"transport": "http", "rejection": code, **known}]


async def test_errors_inside_a_response_with_status_200_are_reported(
    client: Client, recorder: Recorder
) -> None:
    answer = await post(client, {"query": "query Page { users(first: 101) { totalCount } }"})
    assert (answer.status_code, len(answer.json()["errors"])) == (200, 1)
    [code] = [error["extensions"]["code"] for error in answer.json()["errors"]]
    known = {"transport": "http", "type": "query", "name": "Page"}
    assert list(recorder.take()) == [{**known, "errors": {code: 1}}]


async def test_errors_of_mutations_are_reported_although_they_are_not_selected(
    client: Client, recorder: Recorder
) -> None:
    await post(client, creating("mia"))
    await post(client, creating("mia"))
    await post(client, creating("x"))
    known = {"transport": "http", "type": "mutation", "name": "Add"}
    assert list(recorder.take()) == [
        known,
        {**known, "errors": {"TAKEN": 2}, "retries": 1},
        {**known, "errors": {"TOO_SHORT": 1}},
    ]


async def test_replay_of_an_idempotent_mutation_is_reported(
    client: Client, recorder: Recorder
) -> None:
    for _ in range(2):
        await post(client, creating("mia", idempotencyKey="once"))
    known = {"transport": "http", "type": "mutation", "name": "Add"}
    assert list(recorder.take()) == [known, {**known, "replays": 1}]


async def test_rejected_entry_of_a_batch_is_reported_alone(
    client: Client, recorder: Recorder
) -> None:
    await post(client, [QUERY, {"query": "{"}, QUERY])
    await post(client, [QUERY] * 4)
    query = {"transport": "batch", "type": "query", "name": "Count"}
    rejected = {"rejection": "GRAPHQL_PARSE_FAILED", "errors": {"GRAPHQL_PARSE_FAILED": 1}}
    too_long = {"rejection": "BATCH_TOO_LONG", "errors": {"BATCH_TOO_LONG": 1}}
    assert list(recorder.take()) == [
        query,
        {"transport": "batch", **rejected},
        query,
        {"transport": "http", **too_long},
    ]


async def test_throttled_request_is_reported(database_url: str, recorder: Recorder) -> None:
    settings = Settings(database_url=database_url, rate_limit="1/hour", max_batch_size=2)
    async with serving(settings, [recorder]) as client:
        await post(client, [QUERY, QUERY])
        await post(client, QUERY)
    known = {"rejection": "RATE_LIMITED", "errors": {"RATE_LIMITED": 1}}
    assert list(recorder.take())[1:] == [
        {"transport": "batch", **known},
        {"transport": "http", **known},
    ]


async def test_persisted_document_is_recognised_by_id_and_by_text(
    database_url: str, recorder: Recorder, tmp_path: Any
) -> None:
    manifest = tmp_path / "documents.json"
    manifest.write_text(json.dumps({"1": QUERY["query"]}))
    settings = Settings(
        database_url=database_url, persisted_documents="log", persisted_documents_file=manifest
    )
    async with serving(settings, [recorder]) as client:
        await post(client, {"documentId": "1"})
        await post(client, QUERY)
        await post(client, {"query": "query Count { users { totalCount pageInfo { endCursor } } }"})
    known = {"transport": "http", "type": "query", "name": "Count"}
    persisted = {**known, "persisted": True}
    hashes = [operation.document_hash for operation in recorder.ended]
    assert list(recorder.take()) == [persisted, persisted, known]
    assert hashes[0] == hashes[1] != hashes[2]


async def test_operation_that_is_abandoned_ends(client: Client, recorder: Recorder) -> None:
    async with client.database.session() as session, session.transaction():
        waiting = asyncio.ensure_future(post(client, creating("mia")))
        async with asyncio.timeout(60):
            while not recorder.identified:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    known = {"transport": "http", "type": "mutation", "name": "Add"}
    assert list(recorder.take()) == [known]


def test_stream_that_never_begins_ends(recorder: Recorder) -> None:
    operations = Operations([recorder.operations])
    assert operations.begin("sse")  # and nothing refers to it any more
    recorder.started.clear()
    gc.collect()
    assert list(recorder.take()) == [{"transport": "sse"}]


def test_operations_of_a_socket_are_reported(sqlite_template: Path, recorder: Recorder) -> None:
    settings = Settings(
        database_url=f"sqlite:///{sqlite_template}",
        allowed_hosts=["testserver"],
        max_operations_per_connection=1,
    )
    feed = {"query": "subscription Feed { userEvents { cursor } }"}
    with (
        TestClient(create_app(settings, [recorder])) as http,
        http.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket,
    ):
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
        for payload in (QUERY, {"query": "{"}):
            socket.send_json({"type": "subscribe", "id": "1", "payload": payload})
            while socket.receive_json()["type"] == "next":
                pass
        for id_ in "23":
            socket.send_json({"type": "subscribe", "id": id_, "payload": feed})
        assert socket.receive_json()["id"] == "3"
        socket.send_json({"type": "complete", "id": "2"})
    rejected = ["GRAPHQL_PARSE_FAILED", "TOO_MANY_OPERATIONS"]
    assert list(recorder.take()) == [
        {"transport": "websocket", "type": "query", "name": "Count"},
        *({"transport": "websocket", "rejection": code, "errors": {code: 1}} for code in rejected),
        {"transport": "websocket", "type": "subscription", "name": "Feed"},
    ]


async def test_operation_of_a_socket_that_is_completed_before_it_starts_is_reported(
    client: Client, recorder: Recorder
) -> None:
    # They are all there already: nothing else runs in between.
    messages: list[dict[str, Any]] = [
        {"type": "connection_init"},
        {"type": "subscribe", "id": "1", "payload": QUERY},
        {"type": "complete", "id": "1"},
    ]
    received: list[Message] = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", "text": json.dumps(each)} for each in messages),
        {"type": "websocket.disconnect", "code": 1000},
    ]
    sent = []

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope = {
        "type": "websocket",
        "path": "/graphql",
        "headers": [(b"host", b"127.0.0.1")],
        "subprotocols": ["graphql-transport-ws"],
    }
    await client.app(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.send"]
    assert list(recorder.take()) == [{"transport": "websocket"}]
    assert (recorder.identified, len(recorder.started)) == ([], 1)
