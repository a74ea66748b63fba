"""Detects changes of the undocumented parts of Strawberry that the adapter uses."""

from typing import Any

import pytest
import strawberry
from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema
from strawberry.exceptions import DuplicatedTypeName
from strawberry.federation import Schema as FederationSchema
from strawberry.federation.schema_directives import Shareable
from strawberry.types import Info

from graph import strawberry_adapter as adapter

infos: list[Any] = []


@strawberry.input(one_of=True)
class Given:
    a: strawberry.Maybe[int]
    b: strawberry.Maybe[int]


@strawberry.type
class Query:
    plain: str = "plain"

    @strawberry.field(metadata={"kept": 1})
    def hello(self, info: Info, given: Given | None = None) -> str:
        infos.append(info)
        return f"hello {given}"


SCHEMA = strawberry.Schema(query=Query)


def test_core_schema_is_a_graphql_core_schema() -> None:
    core = adapter.core_schema(SCHEMA)
    assert isinstance(core, GraphQLSchema)
    assert core.query_type is core.type_map["Query"]


def test_declarations_of_fields_and_types_are_found() -> None:
    query = adapter.core_schema(SCHEMA).type_map["Query"]
    assert isinstance(query, GraphQLObjectType)
    declared = adapter.field_declaration(query.fields["hello"])
    assert declared
    assert declared.metadata == {"kept": 1}
    assert declared.base_resolver
    type_ = adapter.type_declaration(query)
    assert type_
    assert type_.origin is Query
    given = adapter.core_schema(SCHEMA).type_map["Given"]
    assert isinstance(given, GraphQLInputObjectType)
    assert (declaration := adapter.type_declaration(given))
    assert declaration.is_one_of


async def test_raw_info_is_graphql_cores_plus_the_request_extensions() -> None:
    infos.clear()
    await SCHEMA.execute("{ hello }", operation_extensions={"a": 1})
    raw = adapter.raw_info(infos[0])
    assert raw.field_nodes[0].name.value == "hello"
    assert raw.path.as_list() == ["hello"]
    assert infos[0].input_extensions == {"a": 1}
    fields = type(raw)._fields
    assert fields[-1] == "operation_extensions"
    made = adapter.strawberry_info(raw[:-1])  # type: ignore[arg-type] # as created by graphql-core
    assert made._fields == fields
    assert tuple(made)[:-1] == tuple(raw)[:-1]


def test_default_execution_context_class_matches() -> None:
    assert SCHEMA.execution_context_class is adapter.STRAWBERRY_EXECUTION_CONTEXT


def test_directives_are_set_in_one_schema_only() -> None:
    one, other = strawberry.Schema(query=Query), strawberry.Schema(query=Query)
    query = adapter.core_schema(one).type_map["Query"]
    assert isinstance(query, GraphQLObjectType)
    for element in (query, query.fields["hello"]):
        adapter.set_directives(element, [Shareable()])
    printed = one.as_str()
    assert printed.count("@shareable") == 2
    assert "type Query @shareable {" in printed
    assert "@shareable" not in other.as_str()
    declared = adapter.field_declaration(query.fields["hello"])
    assert declared
    assert declared.metadata == {"kept": 1}


async def test_subgraph_keeps_the_query_type_to_which_fields_refer() -> None:
    @strawberry.type
    class Change:
        query: Query = strawberry.field(default_factory=Query)

    @strawberry.type
    class Mutation:
        @strawberry.mutation
        def change(self) -> Change:
            return Change()

    schema = adapter.SubgraphSchema(query=Query, mutation=Mutation)
    assert schema.query is Query
    result = await schema.execute("mutation { change { query { plain } } }")
    assert result.data == {"change": {"query": {"plain": "plain"}}}
    with pytest.raises(DuplicatedTypeName):  # else the adapter is not needed any more
        FederationSchema(query=Query, mutation=Mutation)


async def test_validation_rules_match_those_of_strawberry() -> None:
    assert [rule.__name__ for rule in adapter.VALIDATION_RULES] == [
        "MaybeNullValidationRule",
        "OneOfInputValidationRule",
    ]
    result = await SCHEMA.execute("{ hello(given: {a: 1, b: 2}) }")
    assert result.errors
