"""Exports known attributes only: FastAPI's spans have the query string, the path and the host."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, Status

ATTRIBUTES: Final = frozenset(
    {
        *("http.request.method", "http.response.status_code", "http.route", "url.scheme"),
        *("network.protocol.name", "network.protocol.version"),
        *("graphql.operation.name", "graphql.operation.type"),
        *("db.system.name", "db.namespace", "db.operation.name", "db.query.summary"),
        *("db.query.text", "db.response.status_code", "server.address", "server.port"),
        *("error.type", "roster.error.codes", "roster.replays", "roster.retries"),
        "roster.transport",
    }
)
_OF_SERVERS: Final = frozenset({"server.address", "server.port"})


class KnownAttributes(SpanExporter):
    """Passes spans on without other attributes, events, messages of errors and `tracestate`."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_known(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _known(span: ReadableSpan) -> ReadableSpan:
    given = span.attributes or {}
    # The host of a request is chosen by its client. That of a database is a setting.
    allowed = ATTRIBUTES if "db.system.name" in given else ATTRIBUTES - _OF_SERVERS
    return ReadableSpan(
        span.name,
        _without_state(span.context),
        _without_state(span.parent),
        span.resource,
        {name: value for name, value in given.items() if name in allowed},
        links=[Link(context) for link in span.links if (context := _without_state(link.context))],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_state(context: SpanContext | None) -> SpanContext | None:
    if context is None or not context.trace_state:
        return context
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)
