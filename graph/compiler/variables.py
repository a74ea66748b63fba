"""Coerces the variables of an operation (GraphQL spec, 6.1.2).

Exception
└── InvalidVariables    the variables of a request do not match their types
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableValues,
    get_variable_values,
    is_non_null_type,
)

from graph.compiler.coercion import Coerce, InputCoercion
from graph.compiler.fast_path import FastPathFailed
from graph.compiler.graphql_core_adapter import (
    GraphQLVariableSignature,
    VariableValueSource,
    get_variable_signature,
)

NO_VARIABLES = VariableValues({}, {})


class InvalidVariables(Exception):
    """The variables do not match their types. `errors` are from graphql-core."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable without a default."""

    signature: GraphQLVariableSignature
    required: bool
    coerce: Coerce


class Variables:
    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, coercion: InputCoercion
    ) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._simple = self._all_simple(coercion)

    def coerce(
        self, given: Mapping[str, Any], *, max_errors: int, hide_suggestions: bool
    ) -> VariableValues:
        """Return the coerced values. Raises InvalidVariables."""
        if not self._definitions:
            return NO_VARIABLES
        if self._simple is not None:
            with suppress(Exception):  # graphql-core reports the errors
                return _coerced(self._simple, given)
        values = get_variable_values(
            self._schema, self._definitions, dict(given), max_errors, hide_suggestions
        )
        if isinstance(values, list):
            raise InvalidVariables(values)
        return values

    def _all_simple(self, coercion: InputCoercion) -> Sequence[_Variable] | None:
        variables = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            if isinstance(signature, GraphQLError) or definition.default_value:
                return None
            required = is_non_null_type(signature.type)
            variables.append(_Variable(signature, required, coercion.coercer(signature.type)))
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
            raise FastPathFailed
    return VariableValues(sources, coerced)
