"""Traces of an application in this process, kept in memory as they are exported."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from graph.http import health
from graph.tracing.exporter import KnownAttributes
from graph.tracing.sampling import Sampler
from graph.tracing.traces import Traces

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


@dataclass
class Recording:
    """Spans in the order of their ends."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def traces(
        self, sampler: Sampler | None = None, untraced: Collection[str] = health.PATHS
    ) -> Traces:
        provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(KnownAttributes(self.exporter)))
        return Traces(provider, sampler or Sampler(), untraced)

    def take(self) -> list[ReadableSpan]:
        """Returns the spans that have ended, and forgets them."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    def tree(self) -> list[str]:
        return tree(self.take())


def tree(given: Sequence[ReadableSpan]) -> list[str]:
    """Returns the names of spans, below their parents, in the order of their starts."""
    spans = sorted(given, key=lambda span: span.start_time or 0)
    ids = {span.context.span_id for span in spans if span.context}
    roots = [span for span in spans if not (span.parent and span.parent.span_id in ids)]
    return [line for root in roots for line in _lines(root, spans, "")]


def _lines(span: ReadableSpan, spans: list[ReadableSpan], indent: str) -> list[str]:
    assert span.context
    below = [each for each in spans if each.parent and each.parent.span_id == span.context.span_id]
    lines = [line for each in below for line in _lines(each, spans, indent + "  ")]
    return [indent + span.name, *lines]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
