"""The plan of an operation: its fields, collected once, with the data to execute each."""

from typing import Any

from graphql import GraphQLObjectType, VariableValues
from graphql.pyutils import Path

from graph.compiler.arguments import compile_arguments
from graph.compiler.completion import composite_completer
from graph.compiler.execution import Execution
from graph.compiler.fast_path import Generate
from graph.compiler.field_definitions import FieldDefinition, FieldDefinitions
from graph.compiler.fields import SelectedField
from graph.compiler.graphql_core_adapter import CollectedFields, FieldDetails, OperationSource
from graph.compiler.selection_set import SelectionSet


class OperationPlan:
    """An operation, for certain values of the `@skip` and `@include` variables.

    Selection sets refer to their plan, but a plan does not refer to them. Without reference cycles,
    the memory of an operation is freed when its last reference is dropped.
    """

    def __init__(
        self,
        source: OperationSource,
        definitions: FieldDefinitions,
        variables: VariableValues,
        generate: Generate,
    ) -> None:
        self.generate = generate
        self._source = source
        self._definitions = definitions
        self._variables = variables

    def root(self) -> SelectionSet:
        type_ = self._source.schema.get_root_type(self._source.operation.operation)
        assert type_  # the compiler has checked it
        return self._selection_set(type_, self._source.root_fields(type_, self._variables))

    def below(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> SelectionSet:
        fields = self._source.sub_fields(type_, details, self._variables)
        return self._selection_set(type_, fields)

    def _selection_set(self, type_: GraphQLObjectType, collected: CollectedFields) -> SelectionSet:
        fields = []
        for key, details in collected.items():
            name = details[0].node.name.value
            # None if the type does not have the field. Validation rejects this.
            if definition := self._source.schema.get_field(type_, name):
                found = self._definitions.get(type_, name, definition)
                fields.append(self._field(found, key, details))
        return SelectionSet(type_, fields)

    def _field(
        self, definition: FieldDefinition, key: str, details: list[FieldDetails]
    ) -> SelectedField:
        arguments = compile_arguments(
            definition.definition,
            details[0].node,
            definition.resolver,
            hide_suggestions=self._source.hide_suggestions,
        )
        completer = definition.leaf_completer or composite_completer(
            definition.definition.type, SubSelections(self, details)
        )
        return SelectedField(definition, key, details, arguments, completer, self.generate)


class SubSelections:
    """The selection sets below a field, one for each object type that it can return."""

    __slots__ = ("_plan", "_selection_sets", "details")

    def __init__(self, plan: OperationPlan, details: list[FieldDetails]) -> None:
        self.details = details
        self._plan = plan
        self._selection_sets: dict[str, SelectionSet] = {}

    @property
    def generate(self) -> Generate:
        return self._plan.generate

    def selection_set(self, type_: GraphQLObjectType) -> SelectionSet:
        found = self._selection_sets.get(type_.name)
        if found is None:
            found = self._selection_sets[type_.name] = self._plan.below(type_, self.details)
        return found

    def execute(
        self, type_: GraphQLObjectType, execution: Execution, source: Any, path: Path
    ) -> Any:
        return self.selection_set(type_).execute(execution, source, path)
