"""Operations left to graphql-core: `compile` returns None for them."""

import pytest
from graphql import build_schema, get_introspection_query, get_operation_ast, parse

from graph.compiler import Compiler
from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.zoo import SCHEMA

INTROSPECTION = {
    "the schema": get_introspection_query(input_value_deprecation=True),
    "a type": '{ goodText x: __type(name: "Item") { name fields { type { name } } } }',
    "no type": '{ __type(name: "Nothing") { name } }',
    "the schema in a fragment": "{ ...F } fragment F on Query { ... { __schema { description } } }",
}


def test_unknown_directive_is_left_to_graphql_core() -> None:
    schema = build_schema("directive @other on FIELD type Query { a: Int }")
    document = parse("{ a @other }")
    operation = get_operation_ast(document)
    assert operation
    assert Compiler(schema).compile(document, operation) is None


@pytest.mark.parametrize("text", INTROSPECTION.values(), ids=INTROSPECTION)
async def test_introspection_is_compiled_and_matches_graphql_core(text: str) -> None:
    assert (await assert_same(Case(SCHEMA, text))).errors is None


@pytest.mark.parametrize("directive", ["defer", "stream"])
def test_schema_with_incremental_delivery_is_left_to_graphql_core(directive: str) -> None:
    schema = build_schema(f"directive @{directive} on FIELD type Query {{ a: Int }}")
    document = parse("{ a }")
    operation = get_operation_ast(document)
    assert operation
    assert Compiler(schema).compile(document, operation) is None
