"""Coerces the arguments of a field (GraphQL spec, 6.4.1)."""

from collections.abc import Callable, Container
from typing import Any, Final

from graphql import (
    FieldNode,
    GraphQLField,
    VariableNode,
    VariableValues,
    Visitor,
    get_argument_values,
    visit,
)

from graph.compiler.resolvers import FieldResolver
from graph.compiler.variables import NO_VARIABLES

Arguments = Callable[[VariableValues], dict[str, Any]]

# Calls can share immutable values.
_IMMUTABLE: Final = (str, int, float, bool, type(None))


def compile_arguments(
    definition: GraphQLField, node: FieldNode, resolver: FieldResolver, *, hide_suggestions: bool
) -> Arguments:
    # Arguments without variables are coerced once, at compile time.
    if not definition.args:
        return _no_arguments
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
        constants = get_argument_values(_without(definition, variables), node, NO_VARIABLES)
        prepared = prepare(constants)
    except Exception:  # noqa: BLE001 - each execution reports it at its path
        return coerced
    is_immutable = all(isinstance(value, _IMMUTABLE) for value in constants.values())
    if not (is_immutable or resolver.shares_arguments):
        return coerced
    if not variables:
        return _fresh(prepared)
    taken = {definition.args[name].out_name or name: v for name, v in variables.items()}
    return _of_variables(_fresh(prepared), taken, prepare, coerced)


def _no_arguments(_: VariableValues) -> dict[str, Any]:
    return {}


def _unchanged(values: dict[str, Any]) -> dict[str, Any]:
    return values


def _without(definition: GraphQLField, names: Container[str]) -> GraphQLField:
    args = {name: argument for name, argument in definition.args.items() if name not in names}
    return GraphQLField(definition.type, args=args)


def _fresh(prepared: dict[str, Any]) -> Arguments:
    """Return the same arguments for each execution, with lists of its own."""
    lists = [name for name, value in prepared.items() if isinstance(value, list)]
    if not lists:
        return lambda _: prepared
    return lambda _: {**prepared, **{name: prepared[name][:] for name in lists}}


def _of_variables(
    constants: Arguments,
    taken: dict[str, str],
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
    coerced: Arguments,
) -> Arguments:
    has_constants = bool(constants(NO_VARIABLES))
    if len(taken) == 1 and not has_constants:
        [(only, only_variable)] = taken.items()

        def given_one(values: VariableValues) -> dict[str, Any]:
            value = values.coerced.get(only_variable)
            return coerced(values) if value is None else prepare({only: value})

        return given_one

    def filled(values: VariableValues) -> dict[str, Any]:
        given = {}
        for name, variable in taken.items():
            value = values.coerced.get(variable)
            if value is None:  # a default, a missing argument, or an invalid null
                return coerced(values)
            given[name] = value
        return {**constants(values), **prepare(given)} if has_constants else prepare(given)

    return filled


def _has_variables(value: Any) -> bool:
    found: list[VariableNode] = []

    class Finder(Visitor):
        def enter_variable(self, node: VariableNode, *_: Any) -> None:
            found.append(node)

    visit(value, Finder())
    return bool(found)
