"""Compiles operations, so that they can be executed many times."""

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

from graph.compiler.codegen import CodeGenerator
from graph.compiler.coercion import InputCoercion
from graph.compiler.field_definitions import FieldDefinitions
from graph.compiler.graphql_core_adapter import OperationSource
from graph.compiler.operation import CompiledOperation
from graph.compiler.resolvers import DefaultResolvers, Resolvers

_KNOWN: Final = frozenset({"skip", "include"})
# If a schema has these directives, graphql-core's `execute` raises or executes incrementally.
_INCREMENTAL: Final = ("defer", "stream")


class Compiler:
    """Compiles valid documents for one schema."""

    def __init__(
        self,
        schema: GraphQLSchema,
        resolvers: Resolvers | None = None,
        *,
        hide_suggestions: bool = False,
    ) -> None:
        resolvers = resolvers or DefaultResolvers()
        self._schema = schema
        self._definitions = FieldDefinitions(resolvers)
        self._generate = CodeGenerator(resolvers).generate
        self._hide_suggestions = hide_suggestions
        self._coercion = InputCoercion()
        self._is_incremental = any(map(schema.get_directive, _INCREMENTAL))

    def compile(
        self, document: DocumentNode, operation: OperationDefinitionNode
    ) -> CompiledOperation | None:
        """Compile one operation of a document. Returns None if graphql-core must execute it.

        This applies to operations with unknown directives, fragment variables or a missing root
        type, and to schemas with `@defer` or `@stream`.
        """
        if self._is_incremental or self._schema.get_root_type(operation.operation) is None:
            return None
        fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        if not _is_supported([operation, *fragments.values()]):
            return None
        source = OperationSource(
            self._schema, operation, fragments, hide_suggestions=self._hide_suggestions
        )
        return CompiledOperation(source, self._definitions, self._coercion, self._generate)


def _is_supported(definitions: Sequence[ExecutableDefinitionNode]) -> bool:
    unknown: list[str] = []

    class Finder(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            if node.name.value not in _KNOWN:
                unknown.append(node.name.value)

    for definition in definitions:
        if isinstance(definition, FragmentDefinitionNode) and definition.variable_definitions:
            return False
        visit(definition, Finder())
    return not unknown
