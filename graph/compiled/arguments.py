"""The arguments of a field, coerced (GraphQL spec, 6.4.1)."""

from collections.abc import Callable
from typing import Any, Final

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    Undefined,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values

from graph.compiled.variables import NONE

Arguments = Callable[[VariableValues], dict[str, Any]]

# What resolvers can be given again and again, since nobody can change it.
_ATOMS: Final = (str, int, float, bool, type(None))


def arguments(definition: GraphQLField, node: FieldNode, *, hide_suggestions: bool) -> Arguments:
    """Give what coerces a field's arguments: once for all where no variable has a part in it."""
    if not definition.args:
        return lambda _: {}

    def coerced(values: VariableValues) -> dict[str, Any]:
        return get_argument_values(definition, node, values, hide_suggestions=hide_suggestions)

    names: dict[str, str] = {}  # Python's name of an argument -> the variable that it is
    constants: dict[str, Any] = {}
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    for name, argument in definition.args.items():
        value = given.get(name)
        if isinstance(value, VariableNode):
            names[argument.out_name or name] = value.name.value
        elif value is not None and _has_variables(value):
            return coerced
    try:
        constants = get_argument_values(_without(definition, names), node, NONE)
    except (GraphQLError, TypeError):
        return coerced  # which tells of it each time
    if not all(isinstance(value, _ATOMS) for value in constants.values()):
        return coerced
    return _of_variables(constants, names, coerced) if names else lambda _: constants


def _without(definition: GraphQLField, names: dict[str, str]) -> GraphQLField:
    args = {n: a for n, a in definition.args.items() if (a.out_name or n) not in names}
    return GraphQLField(definition.type, args=args)


def _of_variables(
    constants: dict[str, Any], names: dict[str, str], coerced: Arguments
) -> Arguments:
    def filled(values: VariableValues) -> dict[str, Any]:
        given = dict(constants)
        for name, variable in names.items():
            value = values.coerced.get(variable, Undefined)
            if value is Undefined or value is None:
                return coerced(values)  # a default, an absent argument, or a null where none can be
            given[name] = value
        return given

    return filled


def _has_variables(value: Any) -> bool:
    found: list[VariableNode] = []

    class Finder(Visitor):
        def enter_variable(self, node: VariableNode, *_: Any) -> None:
            found.append(node)

    visit(value, Finder())
    return bool(found)
