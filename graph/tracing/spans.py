"""Spans of GraphQL operations and of database statements, inside the span of a traced request.

Attributes follow OpenTelemetry's conventions for GraphQL and databases. None has a value that
clients choose: names are those of persisted documents, and statements have no literals.
"""

import re
from asyncio import CancelledError
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from opentelemetry import context as contexts
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace import set_span_in_context as with_span

from db.erasure_ledger.table import TABLE as LEDGER_TABLE
from db.error_summary import code_of, type_of
from db.models import Model
from db.observation import End, Server, operation_of
from graph.observation import CODE, ObservedOperation

_TABLE_NAMES: Final = (*Model.metadata.tables, LEDGER_TABLE)
_TABLES: Final = re.compile(
    rf"\b(?:FROM|INTO|UPDATE|JOIN)\s+({'|'.join(_TABLE_NAMES)})\b", re.IGNORECASE
)
# Strings, strings in dollars, and numbers, but not parameters like $1 or ?1.
_LITERALS: Final = re.compile(
    r"'(?:[^']|'')*'|\$((?:[A-Za-z_]\w*)?)\$.*?\$\1\$|(?<![\w$?:.])\d+(?:\.\d+)?", re.DOTALL
)
_MAX_TEXT: Final = 4000


def is_recording() -> bool:
    """Return whether there is a current span that is exported."""
    # Most requests are not traced. For them, `get_current_span` takes three times as long.
    return bool(contexts.get_current()) and get_current_span().is_recording()


class OperationSpans:
    """One span per operation. Statements of the operation are its children."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def started(self, operation: ObservedOperation) -> bool:
        if not is_recording():
            return False
        outer = contexts.get_current()
        span = self._tracer.start_span("GraphQL Operation", outer)
        operation.notes[self] = span, outer
        contexts.attach(with_span(span, outer))
        return True

    def identified(self, operation: ObservedOperation) -> None:
        if operation.type is None:
            return
        span: Span = operation.notes[self][0]
        span.set_attribute("graphql.operation.type", operation.type)
        if operation.is_persisted and operation.name:
            span.set_attribute("graphql.operation.name", operation.name)
            span.update_name(f"{operation.type} {operation.name}")
        else:
            span.update_name(operation.type)

    def ended(self, operation: ObservedOperation) -> None:
        span, outer = operation.notes.pop(self)
        span.set_attribute("roster.transport", operation.transport)
        for name, number in (("retries", operation.retries), ("replays", operation.replays)):
            if number:
                span.set_attribute(f"roster.{name}", number)
        if codes := list(filter(CODE.fullmatch, operation.errors)):
            span.set_attribute("roster.error.codes", codes)
        if operation.errors:
            span.set_attribute("error.type", operation.rejection or next(iter(codes), "_OTHER"))
            span.set_status(StatusCode.ERROR)
        span.end()
        # The requests of a batch follow each other in one task. `detach` needs the same context,
        # and a stream can end in another task.
        if get_current_span() is span:
            contexts.attach(outer)


class StatementSpans:
    """One span per statement of a traced operation."""

    def __init__(self, tracer: Tracer, server: Server) -> None:
        self._tracer = tracer
        self._server: dict[str, str | int] = {"db.system.name": server.system}
        if server.system != "sqlite":
            self._server["db.namespace"] = server.namespace
            if server.host:
                self._server["server.address"] = server.host
            if server.port:
                self._server["server.port"] = server.port

    def begin_statement(self, text: str) -> End | None:
        if not is_recording():
            return None
        query = described(text)
        span = self._tracer.start_span(
            str(query["db.query.summary"]),
            kind=SpanKind.CLIENT,
            attributes={**self._server, **query},
        )

        def end(error: BaseException | None) -> None:
            if error is not None:
                _set_error(span, error)
            span.end()

        return end

    def begin_wait(self) -> None:
        """Leave waits out: they are part of the operation's span."""

    def note_retry(self, error: Exception) -> None:
        """Each attempt has a span of its own."""


def _set_error(span: Span, error: BaseException) -> None:
    if code := code_of(error):
        span.set_attribute("db.response.status_code", code)
    span.set_attribute("error.type", type_of(error))
    if not isinstance(error, CancelledError):
        span.set_status(StatusCode.ERROR)


@lru_cache(maxsize=1024)
def described(text: str) -> Mapping[str, str | int]:
    """Return the attributes of a statement. Its literals are replaced."""
    operation = operation_of(text)
    tables = dict.fromkeys(found.lower() for found in _TABLES.findall(text))
    return {
        "db.operation.name": operation,
        "db.query.summary": " ".join([operation, *tables]),
        "db.query.text": _LITERALS.sub("?", text)[:_MAX_TEXT],
    }
