"""Arguments and variables: coercion and errors."""

from itertools import product
from typing import Any

import pytest

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.leaves import ARGUMENTS
from tests.graph.compiler.zoo import SCHEMA

ABSENT: Any = object()
VALUES: list[Any] = [
    ABSENT,
    None,
    "text",
    "12",
    "",
    5,
    4,
    0,
    13,
    1.5,
    1e300,
    2**31,
    2**70,
    True,
    [],
    [1, 2],
    [1, None],
    [[1], None, [2, 3]],
    [[1, None]],
    "RED",
    "PLAIN",
    "LEAD",
    {},
    {"x": 1},
    {"x": 1, "y": None},
    {"x": 13},
    {"x": 1, "z": None},
    {"x": 1, "w": 2},
    {"x": "1"},
    {"text": "a"},
    {"text": None},
    {"text": "a", "list": [1]},
    {"list": [1]},
    {"list": 1},
    {"place": {"x": 1}},
    {"colour": "BLUE", "metals": "TIN", "odd": 3, "old": "o"},
    {"colour": None, "metals": ["TIN", None]},
    {"odd": 2, "old": 4},
    {"and": {"not": {"and": [{"one": {"text": "deep"}}, {}]}}},
    {"and": [{"one": {"text": None}}], "grid": [1, [2]]},
    {"grid": [[1, "2"]], "nit": 1},
]


def literal(value: Any) -> str:
    match value:
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case "RED" | "BLUE" | "LEAD" | "TIN" | "PLAIN":
            return str(value)
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{k}: {literal(v)}' for k, v in value.items())}}}"
    return str(value)


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_each_value_as_a_variable_matches_graphql_core(name: str) -> None:
    type_ = ARGUMENTS[name].type
    text = f"query ($v: {type_}) {{ echo({name}: $v) goodItem {{ laterText echo({name}: $v) }} }}"
    for value in VALUES:
        variables = {} if value is ABSENT else {"v": value}
        await assert_same(Case(SCHEMA, text, variables, valid=False))
    assert (await assert_same(Case(SCHEMA, text, {"v": object()}, valid=False))).data


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_each_value_as_a_literal_and_default_matches_graphql_core(name: str) -> None:
    type_ = ARGUMENTS[name].type
    for value in VALUES[1:]:
        given = literal(value)
        # Some values are invalid. The executors must return the same errors.
        await assert_same(Case(SCHEMA, f"{{ a: echo({name}: {given}) b: goodText }}", valid=False))
        text = f"query ($v: {str(type_).rstrip('!')} = {given}) {{ echo({name}: $v) told }}"
        for variables in ({}, {"v": None}):
            await assert_same(Case(SCHEMA, text, variables, valid=False))


NESTED = """query ($int: Int, $ints: [Int!], $colour: Colour, $place: Place, $text: String,
                   $default: Int! = 6, $filter: Filter, $odd: Odd, $metal: Metal = TIN) {
  a: echo(ints: [1, $int, $default], filter: {grid: [[$int], [1]], and: [{odd: $odd}]})
  b: echo(sureInts: $ints, place: {x: $default, y: $int}, filter: {metals: [$metal]})
  c: echo(filter: {colour: $colour, one: {place: $place}, and: [{not: $filter}]})
  d: echo(one: {text: $text}, anything: {a: [$int, {b: $text}], c: $filter})
  e: echo(text: $text, default: $text, defaultNull: $text, sure: $int, place: $place)
  f: echo(one: {list: [$default]}, old: $text, grid: [$ints], colour: $colour)
}"""
GIVEN: dict[str, list[Any]] = {
    "int": [ABSENT, None, 7],
    "ints": [ABSENT, [1]],
    "text": [ABSENT, None, "t"],
    "place": [ABSENT, {"x": 2}],
    "colour": [ABSENT, "BLUE"],
    "filter": [{"one": {"text": "f"}}],
}


async def test_variables_within_lists_and_objects_match_graphql_core() -> None:
    for values in product(*GIVEN.values()):
        given = zip(GIVEN, values, strict=True)
        variables = {name: value for name, value in given if value is not ABSENT}
        await assert_same(Case(SCHEMA, NESTED, variables, valid=False))


async def test_missing_and_null_variables_are_distinguished() -> None:
    text = "query ($v: String) { echo(text: $v, default: $v, defaultNull: $v) }"
    absent = await assert_same(Case(SCHEMA, text))
    null = await assert_same(Case(SCHEMA, text, {"v": None}))
    common = "'sure_int': 3, 'sureInts': [1, 2], 'colour': ('g', 2), 'place': {'x': 1}}"
    assert absent.result.data == {"echo": f"{{'default': 'd', 'defaultNull': None, {common}"}
    assert null.result.data == {
        "echo": f"{{'text': None, 'default': None, 'defaultNull': None, {common}"
    }


WRONG: list[tuple[str, dict[str, Any] | None]] = [
    ("$a: Int!", None),
    ("$a: Int!", {"a": None}),
    ("$a: Int!", {"b": 1}),
    ("$a: [Int!]!", {"a": [1, None, "x"]}),
    ("$a: Place!, $b: OneOf", {"a": {"y": "s", "w": 1, "ex": 2}, "b": {}}),
    ("$a: Filter", {"a": {"colours": "RED", "and": [{"colour": "RAD"}, {"metals": ["TINN"]}]}}),
    ("$a: OneOf!, $b: OneOf!", {"a": {"text": "a", "place": {"x": 1}}, "b": {"text": None}}),
    ("$a: [Int]", {"a": ["a", "b", "c", "d", "e", "f", "g"]}),
    ("$a: Int, $b: Int, $c: Int", {"a": "a", "b": "b", "c": "c"}),
    ("$a: Odd, $b: Old, $c: Anything", {"a": 2, "b": 3, "c": {"x": [1]}}),
    ("$a: Nowhere, $b: Item", {"a": 1}),
    ('$a: Int = "a", $b: Place = {y: 1}', None),
    ("$a: Int! = null", None),
    ("$a: Place", {"a": [{"x": 1}]}),
    ("$a: String, $a: Int", {"a": 1}),
]


@pytest.mark.parametrize(("definitions", "variables"), WRONG)
@pytest.mark.parametrize("suggestions", [True, False])
async def test_invalid_variables_get_the_same_errors_as_in_graphql_core(
    definitions: str,
    variables: dict[str, Any] | None,
    suggestions: bool,  # noqa: FBT001
) -> None:
    text = f"query ({definitions}) {{ goodText }}"
    case = Case(SCHEMA, text, variables, suggestions=suggestions, valid=False)
    found = await assert_same(case)
    assert found.data == "None"
    assert found.errors


async def test_exceptions_of_input_types_match_graphql_core() -> None:
    for variables in ({"a": {"x": 13}}, {"a": [{"x": 13}]}):
        await assert_same(
            Case(SCHEMA, "query ($a: Place) { echo(place: $a) }", variables, valid=False)
        )
