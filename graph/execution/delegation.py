"""Operations that Strawberry executes itself, within the limits."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from graphql import DocumentNode, GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext, ExecutionResult

from graph.documents.cache import DocumentCache
from graph.documents.parsing import InvalidDocument
from graph.execution.errors import OperationRejected
from graph.execution.operation import Operation


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A valid document, or the errors that the document cache found."""

    document: DocumentNode | None
    errors: list[GraphQLError]


# The document that Strawberry executes next in this task.
_checked: ContextVar[CheckedDocument] = ContextVar("checked_document")


class _CheckExtension(SchemaExtension):
    execution_context: ExecutionContext

    def __init__(
        self, documents: DocumentCache, checked: CheckedDocument, context: ExecutionContext
    ) -> None:
        self.execution_context = context
        self._documents = documents
        self._checked = checked
        self._query = context.query or ""


class CheckedDocumentExtension(_CheckExtension):
    """Makes Strawberry execute the document that was checked.

    It runs before the extensions of the schema. Validation rules that they add are checked in
    addition to the rules of the specification, which the document cache has checked.
    """

    def on_operation(self) -> Iterator[None]:
        self.execution_context.validation_rules = ()
        yield

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        # Without a document Strawberry parses the text. The text is within the size limits.
        if context.graphql_document is None:
            context.graphql_document = self._checked.document
            query = context.query or ""
            if query != self._query and not self._checked.errors:
                self._parse_replacement(query)
        yield

    def _parse_replacement(self, query: str) -> None:
        # Another extension has replaced the text.
        try:
            self.execution_context.graphql_document = self._documents.parse(query)
        except InvalidDocument as invalid:
            self._checked.errors.extend(invalid.errors)


class DocumentErrorsExtension(_CheckExtension):
    """Makes Strawberry report the errors of the document.

    It runs after the extensions of the schema, so that none of them can replace the document after
    the check or discard its errors, as `ValidationCache` does.
    """

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if not context.pre_execution_errors and (errors := self._errors()):
            context.pre_execution_errors = errors
        yield

    def _errors(self) -> list[GraphQLError]:
        if self._checked.errors:
            return self._checked.errors
        context = self.execution_context
        document, name, variables = (
            context.graphql_document,
            context.operation_name,
            context.variables,
        )
        assert document
        try:
            if document is self._checked.document:
                # The document is known, but another extension may have changed the variables.
                self._documents.prepare(self._query, name, variables)
            else:
                # Another extension has parsed, replaced or rewritten the document.
                self._documents.check(document, name, variables)
        except InvalidDocument as invalid:
            return invalid.errors
        return []


class StrawberryDelegate:
    """Strawberry's own execution of checked documents."""

    def __init__(
        self,
        execute: Callable[..., Awaitable[ExecutionResult]],
        stream: Callable[..., Awaitable[AsyncGenerator[Any, None]]],
    ) -> None:
        self._execute = execute
        self._stream = stream

    async def execute(self, operation: Operation) -> ExecutionResult:
        _checked.set(CheckedDocument(operation.prepared.document, []))
        return await self._execute(**_parameters(operation))

    def stream(self, operation: Operation) -> AsyncGenerator[Any, None]:
        checked = CheckedDocument(operation.prepared.document, [])
        return self._stream_checked(checked, _parameters(operation))

    async def report(
        self, error: OperationRejected, query: str, **parameters: Any
    ) -> ExecutionResult:
        """Run the schema's extensions for an invalid document."""
        _checked.set(CheckedDocument(None, error.graphql_errors))
        return await self._execute(query, **parameters)

    def report_stream(
        self, error: OperationRejected, **parameters: Any
    ) -> AsyncGenerator[Any, None]:
        """Like `report`, with the extensions' hooks for a stream."""
        return self._stream_checked(CheckedDocument(None, error.graphql_errors), parameters)

    async def _stream_checked(
        self, checked: CheckedDocument, parameters: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        _checked.set(checked)
        async with aclosing(await self._stream(**parameters)) as results:
            async for result in results:
                yield result


def _parameters(operation: Operation) -> dict[str, Any]:
    return {
        "query": operation.text,
        "variable_values": operation.request.variables,
        "context_value": operation.context,
        "root_value": operation.root,
        "operation_name": operation.request.operation_name,
        "operation_extensions": operation.extensions,
        "allowed_operation_types": operation.allowed,
    }


def with_limits(
    extensions: list[SchemaExtension], documents: DocumentCache, context: ExecutionContext
) -> list[SchemaExtension]:
    """Add the limits to the extensions of the operation that Strawberry executes in this task."""
    checked = _checked.get()
    first = CheckedDocumentExtension(documents, checked, context)
    last = DocumentErrorsExtension(documents, checked, context)
    return [first, *extensions, last]
