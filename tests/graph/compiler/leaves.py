"""Leaf types and inputs with unusual values and coercions."""

from enum import Enum
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLError,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
    StringValueNode,
    Undefined,
    ValueNode,
)

from tests.graph.compiler.resolver_values import Fault


class Metal(Enum):
    TIN = 1
    LEAD = 2


COLOUR = GraphQLEnumType(
    "Colour",
    {
        "RED": GraphQLEnumValue(1),
        "GREEN": GraphQLEnumValue(("g", 2)),
        "BLUE": GraphQLEnumValue({"not": "hashable"}),
        "PLAIN": GraphQLEnumValue(None),
    },
)
METAL = GraphQLEnumType("Metal", Metal, names_as_values=None)  # the members are the values


def _odd_out(value: Any) -> Any:
    match value:
        case "none":
            return None
        case "undefined":
            return Undefined
        case "coded":
            raise GraphQLError("not odd", extensions={"code": "EVEN"})
        case int() if value % 2 == 0:
            raise Fault(f"{value} is even")
    return {"odd": value}


def _odd_in(value: Any) -> Any:
    if value == "none":
        return None
    if not isinstance(value, int) or value % 2 == 0:
        raise GraphQLError(f"{value} is not odd")
    return ("odd", value)


def _text_in(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    if not isinstance(node, StringValueNode):
        raise Fault("not text")
    return f"<{node.value} {sorted(variables or {})}>"


ODD = GraphQLScalarType("Odd", coerce_output_value=_odd_out, coerce_input_value=_odd_in)
# As Strawberry creates them, with graphql-core's former argument names.
OLD = GraphQLScalarType(
    "Old", serialize=str.upper, parse_value=lambda v: f"({v})", parse_literal=_text_in
)
ANYTHING = GraphQLScalarType("Anything")


class Place:
    """The out type of an input object."""

    def __init__(self, values: dict[str, Any]) -> None:
        if values.get("x") == 13:
            raise Fault("unlucky")
        self.values = values

    def __repr__(self) -> str:
        return f"Place({self.values})"


PLACE = GraphQLInputObjectType(
    "Place",
    {
        "x": GraphQLInputField(GraphQLNonNull(GraphQLInt)),
        "y": GraphQLInputField(GraphQLInt, default_value=7, out_name="why"),
        "z": GraphQLInputField(GraphQLNonNull(GraphQLInt), default_value=9),
    },
    out_type=Place,
)
ONE_OF = GraphQLInputObjectType(
    "OneOf",
    {
        "text": GraphQLInputField(GraphQLString, out_name="as_text"),
        "place": GraphQLInputField(PLACE),
        "list": GraphQLInputField(GraphQLList(GraphQLNonNull(GraphQLInt))),
    },
    is_one_of=True,
)
FILTER: GraphQLInputObjectType = GraphQLInputObjectType(
    "Filter",
    lambda: {
        "colour": GraphQLInputField(COLOUR, default_value=1),
        "metals": GraphQLInputField(GraphQLList(GraphQLNonNull(METAL))),
        "odd": GraphQLInputField(ODD),
        "old": GraphQLInputField(OLD),
        "one": GraphQLInputField(ONE_OF),
        "and": GraphQLInputField(GraphQLList(GraphQLNonNull(FILTER)), out_name="and_"),
        "not": GraphQLInputField(FILTER, out_name="not_"),
        "grid": GraphQLInputField(GraphQLList(GraphQLList(GraphQLInt))),
    },
)
ARGUMENTS = {
    "text": GraphQLArgument(GraphQLString),
    "default": GraphQLArgument(GraphQLString, default_value="d"),
    "defaultNull": GraphQLArgument(GraphQLString, default_value=None),
    "sure": GraphQLArgument(GraphQLNonNull(GraphQLInt), default_value=3, out_name="sure_int"),
    "float": GraphQLArgument(GraphQLFloat),
    "yes": GraphQLArgument(GraphQLBoolean),
    "id": GraphQLArgument(GraphQLID),
    "ints": GraphQLArgument(GraphQLList(GraphQLInt)),
    "sureInts": GraphQLArgument(GraphQLList(GraphQLNonNull(GraphQLInt)), default_value=[1, 2]),
    "grid": GraphQLArgument(GraphQLList(GraphQLList(GraphQLNonNull(GraphQLInt)))),
    "colour": GraphQLArgument(COLOUR, default_value=("g", 2)),
    "metal": GraphQLArgument(METAL),
    "odd": GraphQLArgument(ODD),
    "old": GraphQLArgument(OLD),
    "anything": GraphQLArgument(ANYTHING),
    "place": GraphQLArgument(PLACE, default_value={"x": 1}),
    "one": GraphQLArgument(ONE_OF),
    "filter": GraphQLArgument(FILTER),
}
