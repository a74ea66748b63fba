"""How the limits hold for operations that Strawberry executes itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphql import DocumentNode, GraphQLError
from strawberry.extensions import SchemaExtension

from graph.documents.cache import DocumentCache, InvalidDocument

if TYPE_CHECKING:
    from strawberry.types import ExecutionContext


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """What the document cache found: a valid document, or the errors of an invalid one."""

    document: DocumentNode | None
    errors: list[GraphQLError]


class LimitsExtension(SchemaExtension):
    """Has Strawberry execute the document that was checked, and report the errors that were found.

    It runs before the extensions of the schema. Validation rules that they add are checked in
    addition to the specification's, which the document cache has checked.
    """

    execution_context: "ExecutionContext"

    def __init__(self, documents: DocumentCache, checked: CheckedDocument) -> None:
        self._documents = documents
        self._checked = checked

    def on_operation(self) -> Iterator[None]:
        self.execution_context.validation_rules = ()
        yield

    def on_parse(self) -> Iterator[None]:
        # Without a document Strawberry parses the text: its size is within the limits.
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
        """Check a document that another extension has parsed or rewritten."""
        context = self.execution_context
        assert context.graphql_document
        try:
            self._documents.check(
                context.graphql_document, context.operation_name, context.variables
            )
        except InvalidDocument as invalid:
            return invalid.errors
        return []
