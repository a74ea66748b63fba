"""A collector that accepts no spans is logged once, with its cause and without texts of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from structlog.testing import LogCapture

from graph.tracing.failures import ReportedFailures
from tests.support.collector import collecting

LOGGER = logging.getLogger(OTLPSpanExporter.__module__)
LOST = "traces cannot be exported"


def some_span() -> ReadableSpan:
    span = TracerProvider().get_tracer("test").start_span("one")
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


@contextmanager
def reported(url: str, capture: LogCapture) -> Iterator[ReportedFailures]:
    structlog.configure(processors=[capture])
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=3)
    reporting = ReportedFailures(exporter, LOGGER)
    yield reporting
    reporting.shutdown()


def test_refusal_and_its_end_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    capture, span = LogCapture(), some_span()
    statuses = [200, 401, 401, 200, 200, 400]
    results = []
    with collecting() as collector, reported(collector.url, capture) as exporter:
        for collector.status in statuses:
            results.append(exporter.export([span]) is SpanExportResult.SUCCESS)
    assert results == [status == 200 for status in statuses]
    assert capture.entries == [
        {"event": LOST, "cause": "status 401", "log_level": "warning"},
        {"event": "traces are exported", "log_level": "info"},
        {"event": LOST, "cause": "status 400", "log_level": "warning"},
    ]
    assert caplog.records == []


def test_collector_that_is_not_there_is_named_by_the_class_of_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capture = LogCapture()
    with reported("http://127.0.0.1:1", capture) as exporter:
        assert exporter.export([some_span()]) is SpanExportResult.FAILURE
    assert capture.entries == [{"event": LOST, "cause": "ConnectionError", "log_level": "warning"}]
    assert caplog.records == []
