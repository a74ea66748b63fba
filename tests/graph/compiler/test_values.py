"""Each field of the zoo schema: alone, within objects and lists, and next to others."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    get_named_type,
    is_leaf_type,
)

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.leaves import ANYTHING, COLOUR, METAL, ODD, OLD, Metal
from tests.graph.compiler.resolver_values import Fault
from tests.graph.compiler.zoo import FIELDS, SCHEMA

# Random or exhaustive cases: others cover the code, and coverage doubles their time.
pytestmark = pytest.mark.no_cover


def selected(name: str) -> str:
    type_ = get_named_type(FIELDS[name].type)
    if is_leaf_type(type_):
        return name
    return f"{name} {{ __typename {'name size' if type_.name == 'Item' else ''} }}"


NAMES = [name for name in FIELDS if name != "number"]
WITHIN = {
    "in objects": "{ goodItem { a: goodText %s b: goodText } laterItem { %s c: laterText } }",
    "where none may be none": "{ goodItem { goodItemSureManySure { %s } } c: laterText }",
    "beside others": "{ a: faultText %s b: goodText c: laterText d: laterRaisedText }",
    "in a list": "{ goodItemMany { %s } laterItemMany { %s } }",
}


@pytest.mark.parametrize("within", WITHIN.values(), ids=WITHIN)
async def test_each_field_matches_graphql_core(within: str) -> None:
    for name in NAMES:
        selection = selected(name)
        # Lookups are awaited without a task of their own, so the number of turns differs.
        timing = name.startswith("wanted")
        await assert_same(Case(SCHEMA, within.replace("%s", selection), valid=False, timing=timing))


async def test_each_mutation_field_between_async_ones_matches_graphql_core() -> None:
    for name in NAMES:
        if "Text" in name:
            text = f"mutation {{ laterItem {{ size }} {name} laterText mostlyLaterText }}"
            await assert_same(Case(SCHEMA, text, valid=False))


VALUES: dict[str, Any] = {
    "none": None,
    "text": "text",
    "empty": "",
    "digits": "12",
    "zero": 0,
    "one": 1,
    "even": 2,
    "large": 2**31 - 1,
    "tooLarge": 2**31,
    "tooSmall": -(2**31) - 1,
    "huge": 2**70,
    "yes": True,
    "no": False,
    "whole": 3.0,
    "half": 0.5,
    "infinite": float("inf"),
    "notANumber": float("nan"),
    "bytes": b"b",
    "list": ["a"],
    "tuple": ("g", 2),
    "mapping": {"a": 1},
    "notHashable": {"not": "hashable"},
    "member": Metal.TIN,
    "wrongMember": Metal,
    "object": NAMES[0].upper,
    "undefined": "undefined",
    "nothing": "none",
    "coded": "coded",
    "subclassed": type("Text", (str,), {})("sub"),
    "subclassedInt": type("Whole", (int,), {})(5),
    "exception": Fault("as a value"),
    "exceptionClass": Fault,
    "baseException": KeyboardInterrupt("never raised"),
}
LEAVES: dict[str, Any] = {
    "Int": GraphQLInt,
    "Float": GraphQLFloat,
    "String": GraphQLString,
    "Boolean": GraphQLBoolean,
    "ID": GraphQLID,
    "Colour": COLOUR,
    "Metal": METAL,
    "Odd": ODD,
    "Old": OLD,
    "Anything": ANYTHING,
}
FORMS: list[Callable[[Any], Any]] = [
    lambda t: t,
    GraphQLNonNull,
    GraphQLList,
    lambda t: GraphQLList(GraphQLNonNull(t)),
]


def fields(type_: Any) -> Iterator[tuple[str, GraphQLField]]:
    for n, form in enumerate(FORMS):
        for name in VALUES:
            yield f"{name}{n}", GraphQLField(form(type_))


def root() -> dict[str, Any]:
    """Returns each value, plain and in a list, for default resolvers, wrapped in a function."""
    for value in VALUES.values():
        if isinstance(value, BaseException):
            # Each raise extends the traceback, which keeps all objects of the execution.
            value.__traceback__ = None
    return {
        f"{name}{n}": (lambda _info, v=value, many=n > 1: [v, v] if many else v)
        for n in range(len(FORMS))
        for name, value in VALUES.items()
    }


@pytest.mark.parametrize("leaf", LEAVES)
async def test_each_value_of_each_leaf_type_matches_graphql_core(leaf: str) -> None:
    within = GraphQLObjectType("Within", dict(fields(LEAVES[leaf])))
    schema = GraphQLSchema(
        GraphQLObjectType(
            "Query",
            {"within": GraphQLField(within, resolve=lambda source, _: source)}
            | dict(fields(LEAVES[leaf])),
        )
    )
    nullable = [f"{name}{n}" for name in VALUES for n in (0, 2, 3)]
    whole = await assert_same(Case(schema, f"{{ {' '.join(nullable)} }}", root=root))
    assert whole.errors
    for name in VALUES:
        text = f"{{ within {{ {name}0 {name}1 {name}2 {name}3 }} }}"
        await assert_same(Case(schema, text, root=root, valid=False))


async def test_default_resolver_reads_attributes_and_mappings() -> None:
    found = await assert_same(
        Case(
            SCHEMA,
            """{ goodItem { name size ratio tags colour none absent method methodLater
                 record { name size ratio tags colour none absent method(times: 3) methodLater }
                 sparse { name } } }""",
        )
    )
    assert found.result.data == {
        "goodItem": {
            "name": "thing",
            "size": 3,
            "ratio": 0.5,
            "tags": ["a", "b"],
            "colour": "RED",
            "none": None,
            "absent": None,
            "method": "method thing method thing ",
            "methodLater": "methodLater",
            "record": {
                "name": "record",
                "size": 3,
                "ratio": 2.0,
                "tags": None,
                "colour": "GREEN",
                "none": None,
                "absent": None,
                "method": "['goodItem', 'record', 'method'] 3",
                "methodLater": "Record",
            },
            "sparse": {"name": "the name"},
        }
    }
    assert found.errors
    assert [error["path"] for error in found.errors] == [["goodItem", "record", "tags", 1]]
