"""Traces of server processes, as an OpenTelemetry collector receives them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector, collecting
from tests.support.process import http_client, run, serving_process
from tests.support.spans import PARENT, SAMPLED, TRACE

COUNT = {"query": "{ users { totalCount } }"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def test_workers_export_their_spans_before_they_end(
    database_url: str, collector: Collector
) -> None:
    settings = {
        "ROSTER_DATABASE_URL": database_url,
        "ROSTER_TRACES": "true",
        "ROSTER_WORKERS": "2",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_PROPAGATORS": "tracecontext,b3",  # not installed
    }
    async with serving_process(None, **settings) as (process, url):
        async with http_client(url) as client:
            answer = await client.post("/graphql", json=COUNT, headers=SAMPLED)
            assert answer.status_code == 200
            await client.get("/health/ready", headers=SAMPLED)
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert b"rror" not in output
    spans = collector.spans()
    assert [span.name for span in spans] == ["SELECT users", "query", "POST /graphql"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert [span.parent_span_id.hex() for span in spans] == [
        spans[1].span_id.hex(),
        spans[2].span_id.hex(),
        PARENT,
    ]
    assert collector.resource("service.name") == {"roster"}
    assert len(collector.resource("service.instance.id")) == 1


async def test_collector_that_does_not_answer_does_not_delay_the_end(tmp_path: Path) -> None:
    with collecting(silent=True) as collector:
        (tmp_path / ".env").write_text(
            f"ROSTER_TRACES=true\nOTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\n"
        )
        async with serving_process(tmp_path) as (process, url):
            async with http_client(url) as client:
                assert (await client.post("/graphql", json=COUNT)).status_code == 200
            process.send_signal(signal.SIGTERM)
            await process.communicate()
            assert process.returncode == -signal.SIGTERM
        assert collector.requests  # it was asked, and has never answered


async def test_unusable_variable_stops_the_start(tmp_path: Path) -> None:
    name = "OTEL_BSP_SCHEDULE_DELAY"
    code, output = await run("serve", cwd=tmp_path, ROSTER_TRACES="true", **{name: "soon"})
    told = f"roster: {name}: must be a whole number, at least 1\n"
    assert (code, output) == (1, told)
