"""What is left to graphql-core: the compiler says so by giving nothing."""

import pytest
from graphql import get_operation_ast, parse

from graph.compiled import Compiler
from tests.graph.compiled.ways import Asked, by_graphql_core, seen
from tests.graph.compiled.zoo import SCHEMA

LEFT = {
    "the schema": "{ __schema { types { name } } }",
    "a type": '{ goodText x: __type(name: "Item") { name } }',
    "the schema in a fragment": "{ ...F } fragment F on Query { ... { __schema { description } } }",
}


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
async def test_what_is_left_to_graphql_core(text: str) -> None:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation
    assert Compiler(SCHEMA).compile(document, operation) is None
    assert (await seen(by_graphql_core, Asked(SCHEMA, text))).errors is None
