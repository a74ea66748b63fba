"""Detects changes of graphql-core's internals that the compiler relies on."""

import inspect
from typing import Any

from graphql import (
    ExecutionResult,
    Executor,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLResolveInfoHelpers,
    VariableValues,
    build_schema,
    execute,
    get_operation_ast,
    is_input_object_type,
    parse,
)
from graphql.execution import collect_fields
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path

from graph.compiler import graphql_core_adapter as adapter

SCHEMA = build_schema("""
    type Query { a(id: Int): Node  b: Int! } interface Node { id: Int }
    type Item implements Node { id: Int } input Given { n: Int = 3 }""")
DOCUMENT = parse("""query ($id: Int) { x: a(id: $id) { ...F } b ...G }
    fragment F on Node { id } fragment G on Query { x: a(id: $id) { id } }""")
OPERATION = get_operation_ast(DOCUMENT)
assert OPERATION
SOURCE = adapter.OperationSource(
    SCHEMA,
    OPERATION,
    {
        node.name.value: node
        for node in DOCUMENT.definitions
        if isinstance(node, FragmentDefinitionNode)
    },
    hide_suggestions=True,
)
NONE = VariableValues({}, {})


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_signatures_of_internal_functions_are_unchanged() -> None:
    assert _parameters(Executor.__init__)[:11] == [
        *("self", "schema", "fragment_definitions", "fragments", "root_value", "context_value"),
        *("operation", "variable_values", "field_resolver", "type_resolver"),
        "subscribe_field_resolver",
    ]
    assert _parameters(Executor.complete_value)[:7] == [
        *("self", "return_type", "field_details_list", "info", "path", "result"),
        "position_context",
    ]
    assert _parameters(Executor.ensure_valid_runtime_type) == [
        *("self", "runtime_type_name", "return_type", "field_details_list", "info", "result"),
    ]
    assert _parameters(collect_fields.collect_fields)[:6] == [
        *("schema", "fragments", "variable_values", "runtime_type", "operation"),
        "hide_suggestions",
    ]
    assert _parameters(collect_fields.collect_subfields)[:7] == [
        *("schema", "fragments", "variable_values", "operation", "return_type"),
        *("field_details_list", "hide_suggestions"),
    ]


def test_fields_of_resolve_info_are_unchanged() -> None:
    assert issubclass(GraphQLResolveInfo, tuple)
    assert GraphQLResolveInfo._fields == (
        *("field_name", "field_nodes", "return_type", "parent_type", "path", "schema"),
        *("fragments", "root_value", "operation", "variable_values", "context", "is_awaitable"),
        *("abort_signal", "async_helpers"),
    )
    assert GraphQLResolveInfoHelpers._fields == ("gather", "track")


def test_created_info_equals_that_of_graphql_core() -> None:
    seen: list[GraphQLResolveInfo[Any]] = []

    def b(info: GraphQLResolveInfo[Any]) -> int:
        seen.append(info)
        return 1

    root = {"b": b}
    result = execute(SCHEMA, DOCUMENT, root, "context")
    assert result == ExecutionResult({"x": None, "b": 1})
    [info] = seen
    query = SCHEMA.query_type
    assert query
    head = adapter.info_of_field("b", info.field_nodes, info.return_type, query)
    tail = adapter.info_of_execution(SOURCE, root, "context", info.variable_values, print)
    assert adapter.resolve_info((*head, Path(None, "b", "Query"), *tail))[:-1] == info[:-1]


def test_collected_fields_are_merged() -> None:
    query = SCHEMA.query_type
    item = SCHEMA.type_map["Item"]
    assert query
    collected = SOURCE.root_fields(query, NONE)
    assert {
        key: [each.node.name.value for each in details] for key, details in collected.items()
    } == {
        "x": ["a", "a"],
        "b": ["b"],
    }
    below = SOURCE.sub_fields(item, collected["x"], NONE)  # type: ignore[arg-type]
    assert {key: len(details) for key, details in below.items()} == {"id": 2}


def test_errors_below_a_null_are_dropped() -> None:
    errors = CollectedErrors()
    parent = Path(None, "a", "Query")
    errors.add(GraphQLError("parent"), parent)
    errors.add(GraphQLError("below"), parent.add_key("b"))
    assert [error.message for error in errors.errors] == ["parent"]


def test_executor_shares_the_collected_errors() -> None:
    errors = CollectedErrors()
    executor = SOURCE.executor(None, None, NONE, errors)
    assert executor.collected_errors is errors
    assert executor.background_futures == set()
    assert executor.hide_suggestions
    assert isinstance(executor.execute_operation(), ExecutionResult)
    assert len(errors.errors) == 1  # of `b`


def test_variable_values_keep_signatures_and_sources() -> None:
    assert OPERATION
    [definition] = OPERATION.variable_definitions or ()
    signature = adapter.get_variable_signature(SCHEMA, definition)
    assert isinstance(signature, adapter.GraphQLVariableSignature)
    assert (signature.name, str(signature.type)) == ("id", "Int")
    source = adapter.VariableValueSource(signature, 1)
    assert VariableValues({"id": source}, {"id": 1}).sources["id"] is source


def test_default_of_an_input_field_is_coerced() -> None:
    given = SCHEMA.type_map["Given"]
    assert is_input_object_type(given)
    assert adapter.coerce_default_value(given.fields["n"]) == 3


async def test_gather_returns_the_results_in_order() -> None:
    async def value(number: int) -> int:
        return number

    helpers = adapter.info_of_execution(SOURCE, None, None, NONE, print)[-1]
    assert await helpers.gather([value(1), value(2)]) == [1, 2]


def test_message_of_too_deeply_nested_selections_is_unchanged() -> None:
    assert adapter.SELECTIONS_NESTED_TOO_DEEPLY.startswith("Selections are nested too deeply.")
