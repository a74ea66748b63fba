"""What resolvers see of the operation. The `told` fields return it as text."""

from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
)

from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.resolver_values import Info, later
from tests.graph.compiler.zoo import SCHEMA

OPERATIONS = {
    "at the root": "{ told toldLater a: toldOnce b: toldOnce(a: 1) }",
    "in objects": "{ goodItem { told laterItem { told x: toldLater } } laterItem { toldOnce } }",
    "in lists": "{ goodItemMany { told } laterItemGridSure { goodItemGrid { told toldLater } } }",
    "merged": """{ goodItem { told } ...F goodItem { told } }
        fragment F on Query { goodItem { told } }""",
    "named": "query Named($a: Int = 2, $b: Int) { toldOnce(a: $a) x: toldOnce(a: $b) }",
    "in fragments": """query Q($a: Int) { ...F } fragment F on Query { toldOnce(a: $a) ...G }
        fragment G on Query { told @include(if: true) told @skip(if: true) }""",
    "mutation": "mutation M { told toldLater again: told goodItem { told } }",
    "under abstract types": "{ sparse { method } record { method methodLater } }",
}


@pytest.mark.parametrize("text", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("variables", [None, {}, {"a": 3, "c": 4}], ids=["none", "empty", "some"])
async def test_resolvers_see_the_same_info_as_in_graphql_core(
    text: str, variables: dict[str, Any] | None
) -> None:
    found = await assert_same(Case(SCHEMA, text, variables, root=lambda: {"root": 1}))
    assert found.errors is None
    assert "field_name" in found.data or "method" in found.data


async def test_resolvers_get_the_root_and_context_objects_themselves() -> None:
    root, context = object(), object()

    def resolve(source: object, info: Info) -> str:
        assert source is root
        assert info.root_value is root
        assert info.context is context
        return "seen"

    schema = GraphQLSchema(
        GraphQLObjectType("Query", {"see": GraphQLField(GraphQLString, resolve=resolve)})
    )
    case = Case(schema, "{ see }", root=lambda: root, context=lambda: context)
    assert (await assert_same(case)).data == "{'see': 'seen'}"


def schema_of_faces(seen: list[Any]) -> GraphQLSchema:
    """Returns a schema that records what the resolvers of an interface's type receive."""

    def record(info: Info, *more: object) -> None:
        seen.append(
            (
                info.field_name,
                str(info.return_type),
                str(info.parent_type),
                info.path.as_list(),
                len(info.field_nodes),
                *map(str, more),
            )
        )

    async def type_later(value: str, info: Info, type_: object) -> str:
        record(info, value, type_)
        return "A"

    def is_type_of(value: str, info: Info) -> Any:
        record(info, value)
        return later(True) if info.path.key == 1 else True  # noqa: FBT003

    face = GraphQLInterfaceType("Face", {"x": GraphQLField(GraphQLString)}, resolve_type=type_later)
    path_field = GraphQLField(
        GraphQLString, resolve=lambda _, info: str([info.parent_type.name, info.path.as_list()])
    )
    a = GraphQLObjectType("A", {"x": path_field}, interfaces=[face], is_type_of=is_type_of)
    lists = GraphQLNonNull(GraphQLList(GraphQLNonNull(face)))
    faces = GraphQLField(lists, resolve=lambda *_: ["v", later("w"), "z"])
    return GraphQLSchema(GraphQLObjectType("Query", {"faces": faces}), types=[a])


async def test_type_resolvers_get_the_info_of_the_abstract_field() -> None:
    seen: list[Any] = []
    text = "{ faces { x } faces { ... on A { y: x } } }"
    found = await assert_same(Case(schema_of_faces(seen), text))
    assert found.errors is None
    runs = [sorted(seen[n : n + 6]) for n in range(0, len(seen), 6)]
    assert len(runs) == 4
    assert runs[0] == runs[1] == runs[2] == runs[3]
