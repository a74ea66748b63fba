"""The variables of an operation, coerced (GraphQL spec, 6.1.2)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import (
    GraphQLVariableSignature,
    get_variable_signature,
)
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_variable_values,
)

from graph.compiler.coercion import Coerce, Coercion, Unfit

NONE = VariableValues({}, {})


class InvalidVariables(Exception):
    """The variables do not fit; `errors` are those that graphql-core gives."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable without a default, which needs no more than its coercion."""

    signature: GraphQLVariableSignature
    required: bool
    coerce: Coerce


class Variables:
    """Coerces what requests give for one operation."""

    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, coercion: Coercion
    ) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._simple = self._all_simple(coercion)

    def coerce(
        self, given: Mapping[str, Any], *, max_errors: int, hide_suggestions: bool
    ) -> VariableValues:
        """Raise InvalidVariables where a value does not fit its type."""
        if not self._definitions:
            return NONE
        if self._simple is not None:
            with suppress(Exception):  # whatever is wrong, graphql-core tells
                return _coerced(self._simple, given)
        values = get_variable_values(
            self._schema, self._definitions, dict(given), max_errors, hide_suggestions
        )
        if isinstance(values, list):
            raise InvalidVariables(values)
        return values

    def _all_simple(self, coercion: Coercion) -> Sequence[_Variable] | None:
        variables = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            if isinstance(signature, GraphQLError) or definition.default_value:
                return None
            required = is_non_null_type(signature.type)
            variables.append(_Variable(signature, required, coercion.of(signature.type)))
        return variables


def _coerced(variables: Sequence[_Variable], given: Mapping[str, Any]) -> VariableValues:
    sources: dict[str, VariableValueSource] = {}
    coerced: dict[str, Any] = {}
    for variable in variables:
        signature = variable.signature
        value = given.get(signature.name, Undefined)
        sources[signature.name] = VariableValueSource(signature, value)
        if value is not Undefined:
            coerced[signature.name] = variable.coerce(value)
        elif variable.required:
            raise Unfit
    return VariableValues(sources, coerced)
