"""The trace context that is accepted from clients and passed on."""

from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, get_current
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

_NAME: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()


class TraceParent(TextMapPropagator):
    """W3C's `traceparent`, without `tracestate` and `baggage`: clients can write anything there."""

    @property
    def fields(self) -> set[str]:
        return {_NAME}

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        given = getter.get(carrier, _NAME)
        if given is None or len(given) != 1:
            # The library would continue the first of several, which are invalid.
            return get_current() if context is None else context
        # Alone: the library logs a line for each member of `tracestate` that it cannot read.
        return _W3C.extract({_NAME: given}, context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        _W3C.inject(carrier, _without_state(context), setter)


def _without_state(context: Context | None) -> Context:
    context = get_current() if context is None else context
    given = trace.get_current_span(context).get_span_context()
    if not given.trace_state:
        return context
    plain = SpanContext(given.trace_id, given.span_id, given.is_remote, given.trace_flags)
    return trace.set_span_in_context(NonRecordingSpan(plain), context)
