"""Operations that Strawberry executes itself, within the limits."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
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


class LimitsExtension(SchemaExtension):
    """Makes Strawberry execute the document that was checked, or report its errors.

    It runs before the extensions of the schema. Validation rules that they add are checked in
    addition to the rules of the specification, which the document cache has checked.
    """

    execution_context: ExecutionContext

    def __init__(self, documents: DocumentCache, checked: CheckedDocument) -> None:
        self._documents = documents
        self._checked = checked

    def on_operation(self) -> Iterator[None]:
        self.execution_context.validation_rules = ()
        yield

    def on_parse(self) -> Iterator[None]:
        # Without a document Strawberry parses the text. The text is within the size limits.
        if self.execution_context.graphql_document is None:
            self.execution_context.graphql_document = self._checked.document
        yield

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        errors = self._checked.errors
        if not errors and context.graphql_document is not self._checked.document:
            errors = self._errors_of_replacement()
        context.pre_execution_errors = errors or None
        yield

    def _errors_of_replacement(self) -> list[GraphQLError]:
        # Another extension has parsed or rewritten the document.
        context = self.execution_context
        assert context.graphql_document
        try:
            self._documents.check(
                context.graphql_document, context.operation_name, context.variables
            )
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

    async def stream(self, operation: Operation) -> AsyncIterator[Any]:
        _checked.set(CheckedDocument(operation.prepared.document, []))
        async with aclosing(await self._stream(**_parameters(operation))) as results:
            async for result in results:
                yield result

    async def report(
        self, error: OperationRejected, query: str, **parameters: Any
    ) -> ExecutionResult:
        """Run the schema's extensions for an invalid document."""
        _checked.set(CheckedDocument(None, error.graphql_errors))
        return await self._execute(query, **parameters)


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


def limits_extension(documents: DocumentCache, context: ExecutionContext) -> LimitsExtension:
    """Return the extension for the operation that Strawberry executes next in this task."""
    extension = LimitsExtension(documents, _checked.get())
    extension.execution_context = context
    return extension
