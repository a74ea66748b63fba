"""The trace of a request is continued by what it calls, and by its log lines."""

import asyncio
from typing import Any

import pytest
import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span
from structlog.testing import LogCapture

from db.engine import Database
from db.filters import EventFilter
from feed.feed import Feed
from graph import logging
from graph.execution.executor import OperationExecutor
from graph.settings import Settings
from graph.tracing.propagation import TraceParent
from tests.support.client import serving
from tests.support.signing import RSA, TRUSTED, jwk, key_server, token
from tests.support.spans import SAMPLED, TRACE, Recording

COUNT = {"query": "{ users { totalCount } }"}
UNTRUSTED = {**SAMPLED, "tracestate": "a=ada", "baggage": "user=ada"}

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@on_sqlite
async def test_fetch_of_keys_continues_the_trace_without_state_of_clients(
    database_url: str,
) -> None:
    async with key_server(jwk(RSA, "key")) as keys:
        settings = Settings(
            database_url=database_url,
            **TRUSTED,
            auth_jwks_url=keys.url,
        )
        bearer = {"authorization": f"Bearer {token(headers={'kid': 'key'})}"}
        async with serving(settings, traces=Recording().traces()) as client:
            answer = await client.http.post("/graphql", json=COUNT, headers=UNTRUSTED | bearer)
            assert "data" in answer.json(), answer.text
    [head] = keys.heads
    assert f"traceparent: 00-{TRACE}-" in head
    assert "tracestate" not in head
    assert "baggage" not in head


def test_several_traceparents_are_not_continued() -> None:
    one = SAMPLED["traceparent"]
    found = [
        TraceParent().extract({"traceparent": given}, Context()) for given in ([one], [one] * 2)
    ]
    assert [len(context) for context in found] == [1, 0]


def test_state_and_baggage_of_clients_are_not_accepted(caplog: pytest.LogCaptureFixture) -> None:
    context = TraceParent().extract(UNTRUSTED | {"tracestate": "a=\t, B"}, Context())
    assert caplog.messages == []  # clients could fill the log
    given = get_current_span(context).get_span_context()
    assert f"{given.trace_id:032x}" == TRACE
    assert not given.trace_state
    assert len(context) == 1
    carrier: dict[str, str] = {}
    TraceParent().inject(carrier, context)
    assert carrier == SAMPLED


@on_sqlite
async def test_log_line_of_a_traced_request_has_its_ids(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> Any:
        raise ZeroDivisionError

    recording, captured = Recording(), LogCapture()
    monkeypatch.setattr(OperationExecutor, "prepare", crash)
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[logging.add_trace, captured])
    try:
        async with serving(
            Settings(database_url=database_url), traces=recording.traces()
        ) as client:
            await client.http.post("/graphql", json=COUNT, headers=SAMPLED)
    finally:
        structlog.configure(processors=before)
    [operation, _] = recording.take()
    [line] = captured.entries
    assert operation.context
    assert (line["event"], line["trace_id"]) == ("request crashed", TRACE)
    assert line["span_id"] == f"{operation.context.span_id:016x}"


@on_sqlite
async def test_tasks_of_the_feed_are_in_no_trace(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They outlive the subscription that starts them."""
    seen = asyncio.get_running_loop().create_future()

    async def look(_: Feed) -> None:
        seen.set_result(get_current_span().is_recording())

    monkeypatch.setattr(Feed, "_poll_loop", look)
    feed = Feed(database)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("subscription"):
        async with feed.subscribe(None, EventFilter()):
            assert get_current_span().is_recording()
            assert await asyncio.wait_for(seen, 60) is False
    await feed.close()
