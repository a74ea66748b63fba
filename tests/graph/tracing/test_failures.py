"""A collector that accepts no spans is logged once, with its cause and without texts of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from structlog.testing import capture_logs

from graph.tracing.failures import ReportedFailures
from tests.support.collector import collecting

LOST = "traces cannot be exported"


def some_span() -> ReadableSpan:
    span = TracerProvider().get_tracer("test").start_span("one")
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


@contextmanager
def reported(url: str) -> Iterator[ReportedFailures]:
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=3)
    reporting = ReportedFailures(exporter, OTLPSpanExporter.__module__)
    yield reporting
    reporting.shutdown()


def test_refusal_and_its_end_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    span = some_span()
    statuses = [200, 401, 401, 200, 200, 400]
    results = []
    with collecting() as collector, capture_logs() as lines, reported(collector.url) as exporter:
        for collector.status in statuses:
            results.append(exporter.export([span]) is SpanExportResult.SUCCESS)
    assert results == [status == 200 for status in statuses]
    assert lines == [
        {"event": LOST, "cause": "status 401", "log_level": "warning"},
        {"event": "traces are exported", "log_level": "info"},
        {"event": LOST, "cause": "status 400", "log_level": "warning"},
    ]
    assert caplog.records == []


def test_collector_that_is_not_there_is_named_by_the_class_of_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with capture_logs() as lines, reported("http://127.0.0.1:1") as exporter:
        assert exporter.export([some_span()]) is SpanExportResult.FAILURE
    assert lines == [{"event": LOST, "cause": "ConnectionError", "log_level": "warning"}]
    assert caplog.records == []
