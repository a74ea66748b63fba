"""Selected fields, their order, and merging."""

from itertools import product
from typing import Any

import pytest

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.zoo import SCHEMA


async def execute_without_errors(text: str, **options: Any) -> Any:
    found = await assert_same(Case(SCHEMA, text, **options))
    assert found.errors is None
    return found.result.data


async def test_fields_with_one_response_name_merge_across_fragments() -> None:
    data = await execute_without_errors(
        """query { a: goodItem { name } ...B ... { a: goodItem { tags ...D } }
             ... on Query { z: goodText a: goodItem { x: name } } a: goodItem { name size } }
           fragment B on Query { a: goodItem { goodItem { name ...C } ratio } b: goodText }
           fragment C on Item { size inner: goodItem { name } }
           fragment D on Item { goodItem { inner: goodItem { size } ratio } ...C }"""
    )
    inner = {"name": "thing", "size": 3}
    first = {
        "name": "thing",
        "goodItem": {"name": "thing", "size": 3, "inner": inner, "ratio": 0.5},
        "ratio": 0.5,
        "tags": ["a", "b"],
        "size": 3,
        "inner": {"name": "thing"},
        "x": "thing",
    }
    assert data == {"a": first, "b": "text", "z": "text"}
    assert list(data) == ["a", "b", "z"]
    assert list(data["a"]) == list(first)
    assert list(data["a"]["goodItem"]) == ["name", "size", "inner", "ratio"]


OPERATIONS = {
    "a fragment twice": """{ goodItem { ...F goodText ...F } ...Q ...Q }
        fragment F on Item { name } fragment Q on Query { goodText }""",
    "a fragment in two objects": """{ goodItem { ...F goodItem { ...F } } laterItem { ...F } }
        fragment F on Item { name goodText none }""",
    "fragments in fragments": """{ goodItem { ...A } }
        fragment A on Item { ...B goodText } fragment B on Item { ...C name }
        fragment C on Named { __typename name ... on Item { size } }""",
    "one field, three names": """{ a: echo(text: "a") b: echo(text: "b") echo
        c: goodItem { name } d: goodItem { size } }""",
    "names of others": "{ goodText: goodItem { name } goodItem: goodText x: goodText }",
    "type names": """{ __typename t: __typename goodItem { __typename u: __typename name
        goodItemMany { v: __typename } } manyAsLegged { __typename ... on Cat { w: __typename } } }
        """,
    "a type name alone": "{ __typename }",
    "a type name alone, further in": "{ goodItem { __typename } laterItemMany { __typename } }",
    "on interfaces": """{ manyAsNamed { name ... on Dog { legs } ... on Legged { l: legs }
        ... on Cat { __typename } ... on Item { size } ... on Pet { ... on Dog { n: name } } } }""",
    "on unions": """{ manyAsPet { ...P } manyAsThing { ... on Dog { name } ... on Named { n: name }
        ... on Robot { legs __typename } ... on Stone { s: name } } }
        fragment P on Pet { __typename ... on Dog { likes { ... on Cat { name likes { name } } } }
        ... on Cat { likes { ... on Dog { likes { __typename } } __typename name } } }""",
    "on what it never is": """{ asItem: goodItem { ... on Named { ... on Dog { legs } name } } }""",
    "one name, other types": """{ manyAsNamed { ... on Dog { x: name }
        ... on Cat { x: name y: legs } ... on Robot { y: legs } } }""",
    "merging within abstract types": """{ manyAsPet { ... on Dog { likes { __typename } }
        ... on Cat { name } ...F } }
        fragment F on Pet { ... on Dog { likes { ... on Cat { name } } } ... on Cat { legs } }""",
    "none of it": """{ catAsLegged { ... on Robot { name } } mappingAsPet { ... on Dog { legs } }
        mappingAsNamed { ... on Dog { legs } } dogAsThing { ... on Stone { legs } } }""",
    "fields and their own fragments": """{ dogAsNamed { name ...N } mappingAsNamed { ...N name } }
        fragment N on Named { name __typename ... on Legged { legs } }""",
    "a fragment that nothing merges with": "{ ... { ... { ... on Query { goodText } } } }",
}


@pytest.mark.parametrize("text", OPERATIONS.values(), ids=OPERATIONS)
async def test_fragments_select_the_same_fields_as_in_graphql_core(text: str) -> None:
    await assert_same(Case(SCHEMA, text))


async def test_named_operation_of_several_is_executed() -> None:
    text = """query A { goodText ...F } query B($v: Int = 4) { echo(sure: $v) told }
              mutation C { goodText } fragment F on Query { laterText }"""
    assert await execute_without_errors(text, name="A") == {"goodText": "text", "laterText": "text"}
    assert "'sure_int': 4" in (await execute_without_errors(text, name="B"))["echo"]
    assert await execute_without_errors(text, name="C") == {"goodText": "text"}


async def test_unknown_fields_are_omitted() -> None:
    text = "{ goodText unknown goodItem { name unknown { name } } }"
    found = await assert_same(Case(SCHEMA, text, valid=False))
    assert found.data == "{'goodText': 'text', 'goodItem': {'name': 'thing'}}"
    assert found.errors is None


CONDITIONS = {
    f"{name} {condition}": f"@{name}(if: {condition})"
    for name in ("skip", "include")
    for condition in ("true", "false", "$yes", "$no", "$default", "$given")
} | {
    "both, skipped": "@skip(if: true) @include(if: true)",
    "both, included": "@skip(if: false) @include(if: true)",
    "both, excluded": "@skip(if: $no) @include(if: $no)",
    "both, by variables": "@include(if: $given) @skip(if: $default)",
}
PLACES = """query (%s) {
  before: goodText
  goodText %%s
  laterText %%s
  a: goodItem %%s { name size %%s }
  a: goodItem { ratio ...F %%s }
  ...Q %%s
  ... %%s { c: goodItem { name } laterItem { ... on Item %%s { tags } d: name %%s } }
  ... on Query %%s { e: goodText }
  manyAsNamed { name %%s ...N %%s ... on Cat %%s { legs } }
  goodItemSure { name %%s ...F %%s }
  after: goodText
}
fragment F on Item { tags goodItem %%s { name } }
fragment N on Named { __typename %%s }
fragment Q on Query { a: goodItem { none %%s } b: goodText }"""
VARIABLES = "$yes: Boolean! = true, $no: Boolean! = false, $default: Boolean! = true"


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
async def test_skip_and_include_match_graphql_core(condition: str) -> None:
    text = (PLACES % (VARIABLES + ", $given: Boolean!")).replace("%s", condition)
    for given, default in product([True, False], [True, False, None]):
        variables = {"given": given} | ({} if default is None else {"default": default})
        await assert_same(Case(SCHEMA, text, variables, valid=False))


async def test_document_can_be_executed_again_with_other_conditions() -> None:
    text = """query ($a: Boolean!, $b: Boolean!) {
        goodItem { x: goodItem @include(if: $a) { name ...F @skip(if: $b) } x: goodItem { tags } }
        } fragment F on Item { size ratio @include(if: $a) }"""
    answers = [
        await execute_without_errors(text, variables={"a": a, "b": b})
        for a, b in product([True, False], [True, False])
    ]
    tags = {"tags": ["a", "b"]}
    assert answers == [
        {"goodItem": {"x": {"name": "thing"} | tags}},
        {"goodItem": {"x": {"name": "thing", "size": 3, "ratio": 0.5} | tags}},
        {"goodItem": {"x": tags}},
        {"goodItem": {"x": tags}},
    ]


async def test_operation_with_all_fields_skipped_returns_empty_objects() -> None:
    for text in (
        "{ goodText @skip(if: true) }",
        "{ ... @skip(if: true) { goodText } }",
        "{ ...F @include(if: false) } fragment F on Query { goodText }",
        "mutation { goodText @skip(if: true) }",
    ):
        assert await execute_without_errors(text) == {}
    inner = "{ goodItem { name @skip(if: true) } laterItemMany { ...F @skip(if: true) } }"
    data = await execute_without_errors(inner + " fragment F on Item { name }")
    assert data == {"goodItem": {}, "laterItemMany": [{}, {}, {}]}


@pytest.mark.parametrize(
    "condition", ["@skip(if: $none)", "@include(if: $none)", "@skip(if: $none) @include(if: $none)"]
)
async def test_null_conditions_fail_as_in_graphql_core(condition: str) -> None:
    # A nullable variable with a default is valid for a non-null argument, and can still be null.
    text = f"query ($none: Boolean = true) {{ a: goodText {condition} b: goodText }}"
    for place in (
        text,
        text.replace("{ a", "{ c: laterText goodItem { a").replace("b:", "} b:"),
        text.replace("{ a", "{ laterItemMany { a").replace("b:", "} b:"),
        text.replace("{ a", "{ goodItemSureManySure { a").replace("b:", "} b:"),
        text.replace("{ a: goodText", "{ ...F").replace("b:", "...F b:")
        + " fragment F on Query { goodText }",
        text.replace("{ a: goodText", "{ manyAsNamed { ... on Cat").replace("b:", "{ name } } b:"),
        text.replace("query", "mutation"),
    ):
        assert (await assert_same(Case(SCHEMA, place, {"none": None}))).errors
        for variables in ({}, {"none": True}, {"none": False}):
            assert (
                not (await assert_same(Case(SCHEMA, place, variables))).result.errors
                or "many" in place
            )
