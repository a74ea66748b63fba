"""Errors: their order, paths and locations, and the remaining data."""

import traceback

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
)

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.resolver_values import Fault
from tests.graph.compiler.zoo import SCHEMA

OPERATIONS = {
    "several": "{ a: faultText b: goodText c: codedText d: raisingText e: faultTextMany }",
    "several, some later": """{ a: laterRaisedText b: raisingText c: raisingLaterText
        d: laterFaultText e: faultText }""",
    "several, all later": """{ a: laterRaisedText b: laterFaultText c: laterRaisedText
        d: laterFaultTextMany e: laterFaultTextGrid }""",
    "merged and in fragments": """{ faultText ...F ... { faultText codedText } }
        fragment F on Query { x: codedText faultText }""",
    "in lists": """{ faultTextMany noneTextManySure goodItemMany { x: raisingText
        y: faultItemGrid { codedText } } }""",
    "bubbling to the object": "{ goodItem { a: faultText raisingTextSure } faultText }",
    "bubbling to the element": "{ goodItemMany { noneTextSure } faultText }",
    "bubbling to the list": "{ a: goodItemManySure { noneTextSure } b: codedText }",
    "bubbling to the root": "{ goodText raisingTextSure laterText }",
    "bubbling all the way": """{ goodText goodItemSure { goodItemSureManySure {
        noneTextSureManySure } } faultText }""",
    "bubbling later to the object": """{ goodItem { a: laterRaisedText laterNoneTextSure
        b: mostlyLaterText } c: laterRaisedText }""",
    "bubbling later to the root": "{ a: laterRaisedText laterRaisedTextSure b: mostlyLaterText }",
    "bubbling from two at once": """{ goodItem { a: raisingTextSure b: raisingTextSure }
        laterItem { c: raisingTextSure d: raisingTextSure } }""",
    "bubbling from two later": """{ goodItem { a: laterRaisedTextSure b: laterFaultTextSure } }""",
    "bubbling from elements": """{ a: noneTextSureManySure b: noneTextGridSure
        c: goodItemGridSure { noneTextSure } d: laterNoneTextSureManySure }""",
    "bubbling from elements later": """{ x: laterFaultTextManySure
        goodItemMany { laterFaultTextSureManySure } }""",
    "bubbling past an error": """{ goodItem { goodItem { a: faultText raisingTextSure }
        codedTextSure } z: faultText }""",
    "not given where it has to be": "{ a: faultText toldOnce(a: null) noneItemSure { name } }",
    "mutation": "mutation { a: faultText b: raisingText c: laterRaisedText d: codedText }",
    "mutation to the root": "mutation { a: faultText b: raisingTextSure c: laterRaisedText }",
    "mutation to the root later": "mutation { a: goodText b: laterRaisedTextSure c: laterText }",
}


@pytest.mark.parametrize("text", OPERATIONS.values(), ids=OPERATIONS)
async def test_errors_and_their_order_match_graphql_core(text: str) -> None:
    found = await assert_same(Case(SCHEMA, text))
    assert found.errors


async def test_errors_have_locations_and_paths() -> None:
    found = await assert_same(
        Case(
            SCHEMA,
            "{ x: codedText\n goodItem { ...F } }\nfragment F on Item { raisingTextMany }".replace(
                "raisingTextMany", "faultTextMany goodItemMany { noneTextSure }"
            ),
        )
    )
    assert [error.formatted for error in found.result.errors or ()] == [
        {
            "message": "coded",
            "locations": [{"line": 1, "column": 3}],
            "path": ["x"],
            "extensions": {"code": "CODED", "more": [1]},
        },
        {
            "message": "given",
            "locations": [{"line": 3, "column": 22}],
            "path": ["goodItem", "faultTextMany", 1],
        },
        *(
            {
                "message": "Cannot return null for non-nullable field Item.noneTextSure.",
                "locations": [{"line": 3, "column": 51}],
                "path": ["goodItem", "goodItemMany", n, "noneTextSure"],
            }
            for n in range(3)
        ),
    ]
    assert found.result.data == {
        "x": None,
        "goodItem": {"faultTextMany": ["text", None, "text"], "goodItemMany": [None] * 3},
    }


def _deep(*_: object) -> str:
    def deeper() -> str:
        raise Fault("deep")

    return deeper()


async def _deep_later(*_: object) -> str:
    return _deep()


def _located(*_: object) -> str:
    raise GraphQLError("elsewhere", path=["else", 1], extensions={"code": "ELSE"})


class Own(GraphQLError):
    pass


def _subclassed(*_: object) -> str:
    raise Own("own", extensions={"code": "OWN"})


async def test_original_exception_is_kept_with_its_traceback() -> None:
    resolvers = {"now": _deep, "later": _deep_later, "located": _located, "own": _subclassed}
    schema = GraphQLSchema(
        GraphQLObjectType(
            "Query",
            {name: GraphQLField(GraphQLString, resolve=r) for name, r in resolvers.items()},
        )
    )
    found = await assert_same(Case(schema, "{ now later located own }"))
    assert found.data == "{'now': None, 'later': None, 'located': None, 'own': None}"
    by_path = {str(error.path[0]): error for error in found.result.errors or () if error.path}
    assert by_path["else"].extensions == {"code": "ELSE"}
    assert by_path["own"].extensions == {"code": "OWN"}
    for name in ("now", "later"):
        original = by_path[name].original_error
        assert isinstance(original, Fault)
        assert traceback.extract_tb(original.__traceback__)[-1].name == "deeper"


@pytest.mark.parametrize("later", [False, True])
async def test_base_exception_of_a_resolver_propagates(later: bool) -> None:  # noqa: FBT001
    class Stop(BaseException):
        pass

    def stop(*_: object) -> str:
        raise Stop

    async def stop_later(*_: object) -> str:
        raise Stop

    resolve = stop_later if later else stop
    schema = GraphQLSchema(
        GraphQLObjectType("Query", {"stop": GraphQLField(GraphQLString, resolve=resolve)})
    )
    with pytest.raises(Stop):
        await assert_same(Case(schema, "{ stop }"))


async def test_resolver_with_a_wrong_signature_is_an_error_of_its_field() -> None:
    async def takes_no_argument(_source: object, _info: object) -> str:
        return "never"

    schema = GraphQLSchema(
        GraphQLObjectType(
            "Query",
            {
                "f": GraphQLField(
                    GraphQLString, {"a": GraphQLArgument(GraphQLInt)}, resolve=takes_no_argument
                )
            },
        )
    )
    found = await assert_same(Case(schema, "{ f(a: 1) __typename }"))
    assert found.data == "{'f': None, '__typename': 'Query'}"
    assert found.errors
    assert found.errors[0]["path"] == ["f"]


async def test_too_deeply_nested_fragments_are_an_error() -> None:
    fragments = [f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(2_000)]
    text = "{ ...F0 } " + " ".join(fragments) + " fragment F2000 on Query { goodText }"
    found = await assert_same(Case(SCHEMA, text, valid=False))
    assert found.data == "None"
    assert found.errors
    assert found.errors[0]["message"] == "Selections are nested too deeply. Execution aborted."
