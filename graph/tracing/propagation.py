"""The trace context that is accepted from clients and passed on."""

from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C: Final = TraceContextTextMapPropagator()


class TraceParent(TextMapPropagator):
    """W3C's `traceparent`, without `tracestate` and `baggage`: clients can write anything there."""

    @property
    def fields(self) -> set[str]:
        return {"traceparent"}

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        found = _W3C.extract(carrier, context, getter)
        given = trace.get_current_span(found).get_span_context()
        if not given.trace_state:
            return found
        plain = SpanContext(given.trace_id, given.span_id, given.is_remote, given.trace_flags)
        return trace.set_span_in_context(NonRecordingSpan(plain), context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        _W3C.inject(carrier, context, setter)
