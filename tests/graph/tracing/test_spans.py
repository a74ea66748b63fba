"""Spans of requests, operations and statements: their parents, attributes and status."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.telemetry._asgi import NativeTelemetry
from fastapi.testclient import TestClient
from opentelemetry.trace import StatusCode
from sqlalchemy import make_url
from structlog.testing import capture_logs

from graph.app import create_app
from graph.settings import Settings
from graph.tracing.sampling import Rate, Sampler
from tests.support.client import CREATE, Client, serving
from tests.support.faults import IN_WRITES, Faults, in_reads
from tests.support.spans import NOT_SAMPLED, PARENT, SAMPLED, TRACE, Recording, attributes, tree

LOCAL = "http://127.0.0.1:8000"
COUNT = "{ users { totalCount } }"
ONE = ["POST /graphql", "  query", "    SELECT users"]


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
async def client(database_url: str, recording: Recording) -> AsyncIterator[Client]:
    settings = Settings(database_url=database_url, max_batch_size=3)
    async with serving(settings, traces=recording.traces()) as client:
        yield client


async def post(client: Client, body: Any, **headers: str) -> Any:
    return (await client.http.post("/graphql", json=body, headers=headers)).json()


async def test_request_operation_and_statement_have_known_attributes(
    client: Client, recording: Recording, dialect: str
) -> None:
    await post(client, {"query": COUNT})
    statement, operation, request = recording.take()
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/graphql",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    assert attributes(operation) == {"graphql.operation.type": "query", "roster.transport": "http"}
    known = attributes(statement)
    text = known.pop("db.query.text")
    url = client.database.url
    server = {"db.namespace": url.database, "server.address": url.host, "server.port": url.port}
    assert known == {
        **{name: value for name, value in server.items() if value and dialect != "sqlite"},
        "db.system.name": dialect,
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT users",
    }
    assert text.startswith("SELECT count(*)")
    assert all(not span.events and not span.links for span in (statement, operation, request))


async def test_statements_of_both_paths_are_children_of_their_operation(
    client: Client, recording: Recording, dialect: str
) -> None:
    user = await client.create("ada")
    recording.take()
    await post(client, {"query": f'{{ user(id: "{user["id"]}") {{ id }} }}'})
    assert recording.tree() == ONE  # the driver executes it
    await client.mutate("updateUser", user["id"], displayName="Ada")
    begin = ["    BEGIN"] if dialect == "sqlite" else []
    assert recording.tree() == [  # SQLAlchemy executes it
        *("POST /graphql", "  mutation", *begin, "    SELECT users", "    UPDATE users"),
        *("    INSERT user_events", "    COMMIT"),
    ]


async def test_each_operation_of_a_batch_or_a_stream_has_a_span(
    client: Client, recording: Recording
) -> None:
    await post(client, [{"query": COUNT}, {"query": "{"}, {"query": COUNT}])
    assert recording.tree() == [*ONE, "  GraphQL Operation", *ONE[1:]]
    await client.http.post(
        "/graphql", json={"query": COUNT}, headers={"accept": "text/event-stream"}
    )
    assert recording.tree() == ONE
    await client.http.get("/graphql", params={"query": COUNT})
    assert recording.tree() == ["GET /graphql", *ONE[1:]]


def test_operations_of_a_socket_are_children_of_its_span(
    sqlite_template: Path, recording: Recording
) -> None:
    settings = Settings(database_url=f"sqlite:///{sqlite_template}", allowed_hosts=["testserver"])
    with (
        TestClient(create_app(settings, traces=recording.traces())) as http,
        http.websocket_connect(
            "/graphql", subprotocols=["graphql-transport-ws"], headers=SAMPLED
        ) as socket,
    ):
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
        for query in (COUNT, "{"):
            socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
            while socket.receive_json()["type"] == "next":
                pass
    spans = recording.take()
    assert (spans[-1].parent and f"{spans[-1].parent.span_id:016x}") == PARENT
    assert tree(spans) == ["WS /graphql", *ONE[1:], "  GraphQL Operation"]


async def test_remote_parent_is_continued_and_decides_on_sampling(
    client: Client, recording: Recording
) -> None:
    await post(client, {"query": COUNT}, **SAMPLED, tracestate="a=ada", baggage="user=ada")
    spans = recording.take()
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {TRACE}
    request = spans[-1]
    assert request.parent
    assert (f"{request.parent.span_id:016x}", request.parent.is_remote) == (PARENT, True)
    assert [span.context.trace_state for span in spans if span.context] == [{}] * 3
    await post(client, {"query": COUNT}, **NOT_SAMPLED)
    assert recording.take() == []


async def test_health_checks_and_requests_that_are_not_sampled_have_no_spans(
    database_url: str, recording: Recording
) -> None:
    settings = Settings(database_url=database_url)
    async with serving(settings, traces=recording.traces(Sampler(ratio=0))) as client:
        await post(client, {"query": COUNT})
        await client.http.get("/health/ready", headers=SAMPLED)
        assert recording.take() == []
        await post(client, {"query": COUNT}, **SAMPLED)
        assert recording.tree() == ONE


async def test_server_skips_the_telemetry_of_fastapi_for_untraced_requests(
    database_url: str, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = recording.traces(Sampler(rate=Rate(1, lambda: 0)))
    app = create_app(
        Settings(database_url=database_url),
        traces=traces,
    )
    transport = httpx.ASGITransport(app=traces.around(app))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=LOCAL) as http,
    ):
        assert (await http.post("/graphql", json={"query": COUNT})).status_code == 200
        assert recording.tree() == ONE  # sampled once, not once more by FastAPI
        monkeypatch.setattr(NativeTelemetry, "__call__", None)
        for headers in ({}, NOT_SAMPLED):
            answer = await http.post("/graphql", json={"query": COUNT}, headers=headers)
            assert answer.json() == {"data": {"users": {"totalCount": 0}}}
        assert recording.take() == []
        with pytest.raises(TypeError):
            await http.post("/graphql", json={"query": COUNT}, headers=SAMPLED)


async def test_operation_name_is_that_of_a_persisted_document_only(
    database_url: str, recording: Recording, tmp_path: Path
) -> None:
    manifest = tmp_path / "documents.json"
    manifest.write_text(json.dumps({"1": f"query Count {COUNT}"}))
    settings = Settings(
        database_url=database_url, persisted_documents="log", persisted_documents_file=manifest
    )
    async with serving(settings, traces=recording.traces()) as client:
        await post(client, {"documentId": "1"})
        [_, operation, _] = recording.take()
        assert (operation.name, attributes(operation)["graphql.operation.name"]) == (
            "query Count",
            "Count",
        )
        await post(client, {"query": f"query Other {COUNT}"})
        [_, operation, _] = recording.take()
        assert operation.name == "query"
        assert "graphql.operation.name" not in attributes(operation)


async def test_errors_inside_a_response_with_status_200_are_errors_of_the_operation(
    client: Client, recording: Recording
) -> None:
    await post(client, {"query": "{ users(first: 101) { totalCount } }"})
    operation, request = recording.take()
    assert (operation.status.status_code, request.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert attributes(operation)["error.type"] == "INVALID_ARGUMENT"
    await client.create("ada")
    recording.take()
    await post(client, {"query": CREATE, "variables": {"input": taken()}})
    operation = next(span for span in recording.take() if span.name == "mutation")
    assert attributes(operation)["roster.error.codes"] == ("TAKEN",)
    assert attributes(operation)["roster.retries"] == 1


def taken() -> dict[str, str]:
    return {"username": "ada", "email": "other@example.com"}


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("script", "query"), [(in_reads("users"), COUNT), (IN_WRITES, CREATE)])
async def test_failed_statement_has_its_sqlstate_and_no_message(
    database_url: str, recording: Recording, script: str, query: str
) -> None:
    await Faults(database_url).prepare(script)
    faults = Faults(database_url)
    async with serving(Settings(database_url=database_url), traces=recording.traces()) as client:
        await faults.choose("22012")
        with capture_logs():
            await post(client, {"query": query, "variables": {"input": taken()}})
        statement, operation, request = recording.take()
    assert statement.status.status_code is StatusCode.ERROR
    assert statement.status.description is None
    known = attributes(statement)
    assert (known["db.response.status_code"], known["error.type"]) == ("22012", "22012")
    assert attributes(operation)["error.type"] == "INTERNAL_ERROR"
    assert request.status.status_code is StatusCode.UNSET
    assert "said to nobody" not in statement.to_json() + operation.to_json() + request.to_json()


async def test_spans_of_concurrent_requests_do_not_mix(
    client: Client, recording: Recording
) -> None:
    await asyncio.gather(*(post(client, {"query": COUNT}) for _ in range(20)))
    assert recording.tree() == ONE * 20


@pytest.mark.parametrize("erasure_ledger", ["postgresql-ledger"], indirect=True)
async def test_statements_of_the_ledger_are_spans_of_the_erasure(
    database_url: str, erasure_ledger: str, recording: Recording
) -> None:
    settings = Settings(database_url=database_url, erasure_ledger=erasure_ledger)
    async with serving(settings, traces=recording.traces()) as client:
        user = await client.create("mia")
        await client.mutate("deleteUser", user["id"])
        recording.take()
        erasure = {"id": user["id"], "confirmUsername": "mia", "reason": "On request"}
        erasing = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { __typename } }"
        await client.ask(erasing, input=erasure)
        spans = recording.take()
    below = tree(spans)[1:]
    assert below[0] == "  mutation"
    # The first of them creates the table.
    assert below.count("    INSERT roster_erasures") == 3
    namespaces = {span.name: attributes(span).get("db.namespace") for span in spans}
    assert namespaces["INSERT roster_erasures"] == make_url(erasure_ledger).database
