"""Error messages for invalid variables, in the terms of GraphQL and JSON.

graphql-core decides whether variables are valid. Its messages quote values in Python's notation
and include the texts of internal exceptions.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    is_enum_type,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    type_from_ast,
)
from graphql.pyutils import did_you_mean, suggestion_list

_SHOWN: Final = 60  # characters of a value in a message
_EXPECTED: Final = {
    GraphQLInt.name: f"an integer from {GRAPHQL_MIN_INT} to {GRAPHQL_MAX_INT}",
    GraphQLFloat.name: "a number",
    GraphQLString.name: "a string",
    GraphQLBoolean.name: "true or false",
    GraphQLID.name: "a string or an integer",
}
Problems = Iterator[tuple[str, str]]  # path and message


def variable_errors(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    given: Mapping[str, Any],
    *,
    max_errors: int,
    hide_suggestions: bool,
) -> list[GraphQLError]:
    """Return the errors of rejected variables: at least one, at most `max_errors`."""
    explain = _Explanation(hide_suggestions=hide_suggestions)
    errors = [
        GraphQLError(f"Variable '${where}': {what}", definition)
        for definition in operation.variable_definitions or ()
        for where, what in islice(
            explain.variable(
                definition.variable.name.value,
                type_from_ast(schema, definition.type),
                given.get(definition.variable.name.value, Undefined),
                has_default=definition.default_value is not None,
            ),
            max_errors,
        )
    ]
    unknown = GraphQLError("The variables do not fit the types of the operation.", operation)
    return errors[:max_errors] or [unknown]


class _Explanation:
    def __init__(self, *, hide_suggestions: bool) -> None:
        self._hide_suggestions = hide_suggestions

    def variable(self, name: str, type_: Any, value: Any, *, has_default: bool) -> Problems:
        if value is not Undefined:
            yield from self._problems(name, type_, value)
        elif is_non_null_type(type_) and not has_default:
            yield name, f"a value of type '{type_}' is required."

    def _problems(self, where: str, type_: GraphQLInputType, value: Any) -> Problems:
        if is_non_null_type(type_):
            if value is None:
                yield where, f"expected a value of type '{type_}', found null."
                return
            type_ = type_.of_type
        if value is None:
            return
        if is_list_type(type_):
            # A single value is coerced to a list of one.
            items = enumerate(value) if isinstance(value, list) else [("", value)]
            for index, item in items:
                place = where if index == "" else f"{where}[{index}]"
                yield from self._problems(place, type_.of_type, item)
        elif is_input_object_type(type_):
            yield from self._of_object(where, type_, value)
        elif is_leaf_type(type_):
            yield from self._of_leaf(where, type_, value)

    def _of_object(self, where: str, type_: GraphQLInputObjectType, value: Any) -> Problems:
        if not isinstance(value, dict):
            yield where, f"expected an object of type '{type_}', found {_shown(value)}."
            return
        for name, field in type_.fields.items():
            if name in value:
                yield from self._problems(f"{where}.{name}", field.type, value[name])
            elif is_required_input_field(field):
                yield f"{where}.{name}", f"a value of type '{field.type}' is required."
        for name in [name for name in value if name not in type_.fields]:
            message = f"the type '{type_}' has no field {_shown(name)}."
            yield where, message + self._suggestion(name, list(type_.fields))
        given = [value[name] for name in type_.fields if name in value]
        if _is_one_of(type_) and (len(given) != 1 or given[0] is None):
            yield where, f"exactly one field of '{type_}' must be given, and not as null."

    def _of_leaf(self, where: str, type_: GraphQLLeafType, value: Any) -> Problems:
        message = ""
        try:
            if type_.coerce_input_value(value) is not Undefined:
                return
        except GraphQLError as error:
            message = error.message
        except Exception:  # noqa: BLE001 - its text is internal
            message = ""
        expected = _EXPECTED.get(type_.name, f"a value of type '{type_}'")
        if is_enum_type(type_):
            message = f"expected a value of the enum '{type_}', found {_shown(value)}."
            message += self._suggested_value(type_, value)
        elif type_.name in _EXPECTED or not message:
            message = f"expected {expected}, found {_shown(value)}."
        yield where, message

    def _suggested_value(self, type_: GraphQLEnumType, value: Any) -> str:
        return self._suggestion(value, list(type_.values)) if isinstance(value, str) else ""

    def _suggestion(self, text: str, options: list[str]) -> str:
        if self._hide_suggestions or len(text) > _SHOWN:
            return ""
        return did_you_mean(suggestion_list(text, options))


def _is_one_of(type_: GraphQLInputObjectType) -> bool:
    # Strawberry checks this when it creates the object, and does not declare it to graphql-core.
    definition = type_.extensions.get("strawberry-definition")
    return type_.is_one_of or bool(getattr(definition, "is_one_of", False))


def _shown(value: Any) -> str:
    """Return the start of a value as JSON. Lists and objects are only named."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return json.dumps(value[:_SHOWN]) + ("…" if len(value) > _SHOWN else "")
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
