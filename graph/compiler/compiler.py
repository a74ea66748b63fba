"""From a document to an operation that can be executed many times."""

from collections.abc import Sequence
from typing import Any, Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutableDefinitionNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    Visitor,
    visit,
)

from graph.compiler.coercion import Coercion
from graph.compiler.execution import Document
from graph.compiler.operation import CompiledOperation
from graph.compiler.resolvers import DefaultResolvers, Resolvers
from graph.compiler.selections import Kinds

_KNOWN: Final = frozenset({"skip", "include"})


class Compiler:
    """Compiles valid documents for one schema."""

    def __init__(
        self,
        schema: GraphQLSchema,
        resolvers: Resolvers | None = None,
        *,
        hide_suggestions: bool = False,
    ) -> None:
        self._schema = schema
        self._kinds = Kinds(resolvers or DefaultResolvers())
        self._hide_suggestions = hide_suggestions
        self._coercion = Coercion()

    def compile(
        self, document: DocumentNode, operation: OperationDefinitionNode
    ) -> CompiledOperation | None:
        """Compile one operation of a document; None for one that graphql-core has to execute.

        That is one with a directive that is not known here.
        """
        fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        parts = [operation, *fragments.values()]
        if self._schema.get_root_type(operation.operation) is None or not _is_known(parts):
            return None
        found = Document(
            self._schema, operation, fragments, hide_suggestions=self._hide_suggestions
        )
        return CompiledOperation(found, self._kinds, self._coercion)


def _is_known(parts: Sequence[ExecutableDefinitionNode]) -> bool:
    unknown: list[str] = []

    class Finder(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            if node.name.value not in _KNOWN:
                unknown.append(node.name.value)

    for part in parts:
        if isinstance(part, FragmentDefinitionNode) and part.variable_definitions:
            return False
        visit(part, Finder())
    return not unknown
