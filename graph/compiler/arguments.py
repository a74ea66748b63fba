"""The arguments of a field, coerced (GraphQL spec, 6.4.1)."""

from collections.abc import Callable, Container
from typing import Any, Final

from graphql import (
    FieldNode,
    GraphQLField,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values

from graph.compiler.resolvers import FieldResolver
from graph.compiler.variables import NONE

Arguments = Callable[[VariableValues], dict[str, Any]]

# What resolvers can be given again and again, since nobody can change it.
_ATOMS: Final = (str, int, float, bool, type(None))


def arguments(
    definition: GraphQLField, node: FieldNode, resolver: FieldResolver, *, hide_suggestions: bool
) -> Arguments:
    """Give what makes a field's arguments: once for all where no variable has a part in it."""
    if not definition.args:
        return _none
    prepare = resolver.prepare or _unchanged

    def coerced(values: VariableValues) -> dict[str, Any]:
        found = get_argument_values(definition, node, values, hide_suggestions=hide_suggestions)
        return prepare(found)

    variables: dict[str, str] = {}
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    for name in definition.args:
        value = given.get(name)
        if isinstance(value, VariableNode):
            variables[name] = value.name.value
        elif value is not None and _has_variables(value):
            return coerced
    try:
        constants = get_argument_values(_without(definition, variables), node, NONE)
        prepared = prepare(constants)
    except Exception:  # noqa: BLE001 - it is told each time, at its place
        return coerced
    if not (
        resolver.shares_arguments or all(isinstance(value, _ATOMS) for value in constants.values())
    ):
        return coerced
    if not variables:
        return lambda _: prepared
    taken = {definition.args[name].out_name or name: v for name, v in variables.items()}
    return _of_variables(prepared, taken, prepare, coerced)


def _none(_: VariableValues) -> dict[str, Any]:
    return {}


def _unchanged(values: dict[str, Any]) -> dict[str, Any]:
    return values


def _without(definition: GraphQLField, names: Container[str]) -> GraphQLField:
    args = {name: argument for name, argument in definition.args.items() if name not in names}
    return GraphQLField(definition.type, args=args)


def _of_variables(
    constants: dict[str, Any],
    taken: dict[str, str],
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
    coerced: Arguments,
) -> Arguments:
    if len(taken) == 1 and not constants:
        [(only, only_variable)] = taken.items()

        def given_one(values: VariableValues) -> dict[str, Any]:
            value = values.coerced.get(only_variable)
            return coerced(values) if value is None else prepare({only: value})

        return given_one

    def filled(values: VariableValues) -> dict[str, Any]:
        given = {}
        for name, variable in taken.items():
            value = values.coerced.get(variable)
            if value is None:  # a default, no argument, or a null where none can be
                return coerced(values)
            given[name] = value
        return {**constants, **prepare(given)} if constants else prepare(given)

    return filled


def _has_variables(value: Any) -> bool:
    found: list[VariableNode] = []

    class Finder(Visitor):
        def enter_variable(self, node: VariableNode, *_: Any) -> None:
            found.append(node)

    visit(value, Finder())
    return bool(found)
