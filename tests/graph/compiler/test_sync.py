"""Without async resolvers the result is not an awaitable, as in graphql-core."""

from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLField,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    execute_sync,
    get_operation_ast,
    parse,
)

from graph.compiler import Compiler
from tests.graph.compiler.resolver_values import Fault, Info

Log = list[str]


def _note(_: object, info: Info) -> int:
    info.context.append(info.field_name)
    return len(info.context)


async def _note_later(source: object, info: Info) -> int:
    return _note(source, info)


def _fail(_: object, info: Info) -> int:
    raise Fault(info.field_name)


FIELDS = {
    "note": GraphQLField(GraphQLInt, resolve=_note),
    "later": GraphQLField(GraphQLInt, resolve=_note_later),
    "fail": GraphQLField(GraphQLInt, resolve=_fail),
    "failSure": GraphQLField(GraphQLNonNull(GraphQLInt), resolve=_fail),
}
SCHEMA = GraphQLSchema(GraphQLObjectType("Query", FIELDS), GraphQLObjectType("Mutation", FIELDS))


def executed(schema: GraphQLSchema, text: str, context: Any = None) -> Any:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation
    compiled = Compiler(schema).compile(document, operation)
    assert compiled
    return compiled.execute(None, context)


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.parametrize(
    "fields", ["note a: note", "note fail a: note", "note failSure a: note", "fail failSure"]
)
def test_sync_resolvers_give_a_result_without_awaiting(kind: str, fields: str) -> None:
    expected_log: Log = []
    expected = execute_sync(SCHEMA, parse(f"{kind} {{ {fields} }}"), None, expected_log)
    log: Log = []
    found = executed(SCHEMA, f"{kind} {{ {fields} }}", log)
    assert isinstance(found, ExecutionResult)
    assert found.formatted == expected.formatted
    assert log == expected_log


async def test_sync_and_async_mutation_fields_run_in_order() -> None:
    log: Log = []
    found = executed(SCHEMA, "mutation { note later a: note b: later c: note }", log)
    assert log == ["note"]
    assert (await found).data == {"note": 1, "later": 2, "a": 3, "b": 4, "c": 5}


def test_operation_too_deep_for_generated_code_uses_the_fallback() -> None:
    schema = build_schema("type Query { a: [A] } type A { a: A b: Int }")
    depth = 120  # Python compiles 100 levels
    text = f"{{ a {{ {'a { ' * depth} b {'} ' * depth} }} }}"
    source: dict[str, Any] = {"b": 1}
    for _ in range(depth):
        source = {"a": source}
    root = {"a": [source] * 3}
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation
    compiled = Compiler(schema).compile(document, operation)
    assert compiled
    expected = execute_sync(schema, document, root)
    assert expected.errors is None
    for _ in range(2):
        assert compiled.execute(root) == expected


def test_too_deep_selections_are_one_error_without_a_cause() -> None:
    schema = build_schema("type Query { a: Int }")
    spreads = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(3_000))
    document = f"{{ ...F0 }} {spreads} fragment F3000 on Query {{ a }}"
    result = executed(schema, document)
    [error] = result.errors
    assert isinstance(error, GraphQLError)
    assert error.message.startswith("Selections are nested too deeply.")
    assert error.__context__ is None
