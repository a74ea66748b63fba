"""The variables of an operation, coerced (GraphQL spec, 6.1.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLID,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    coerce_input_value,
    is_leaf_type,
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
from graphql.type import get_nullable_type

_TEXTS = (GraphQLString, GraphQLID)

NONE = VariableValues({}, {})


class WrongVariables(Exception):
    """The variables do not fit; `errors` are those that graphql-core gives."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable of a leaf type and without a default, which needs no more than its coercion."""

    signature: GraphQLVariableSignature
    required: bool
    as_it_is: type | None
    """The class of values that stand for themselves."""


class Variables:
    """Coerces what requests give for one operation."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._simple = self._all_simple()

    def coerce(
        self, given: Mapping[str, Any], *, max_errors: int, hide_suggestions: bool
    ) -> VariableValues:
        """Raise WrongVariables where a value does not fit its type."""
        if not self._definitions:
            return NONE
        if coerced := self._coerced(given):
            return coerced
        values = get_variable_values(
            self._schema, self._definitions, dict(given), max_errors, hide_suggestions
        )
        if isinstance(values, list):
            raise WrongVariables(values)
        return values

    def _all_simple(self) -> Sequence[_Variable] | None:
        variables = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            if isinstance(signature, GraphQLError) or definition.default_value:
                return None
            if not is_leaf_type(get_nullable_type(signature.type)):
                return None
            required = is_non_null_type(signature.type)
            as_it_is = str if get_nullable_type(signature.type) in _TEXTS else None
            variables.append(_Variable(signature, required, as_it_is))
        return variables

    def _coerced(self, given: Mapping[str, Any]) -> VariableValues | None:
        """Coerce variables of the simple kind; None where graphql-core has to say what is wrong."""
        if self._simple is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for variable in self._simple:
            signature = variable.signature
            value = given.get(signature.name, Undefined)
            sources[signature.name] = VariableValueSource(signature, value)
            if value.__class__ is variable.as_it_is:
                coerced[signature.name] = value
                continue
            if value is Undefined:
                if variable.required:
                    return None
                continue
            fitting = coerce_input_value(value, signature.type)
            if fitting is Undefined:
                return None
            coerced[signature.name] = fitting
        return VariableValues(sources, coerced)
