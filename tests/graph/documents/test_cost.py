"""The costs declared on the fields of the schema."""

from collections.abc import Iterator

import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_introspection_type,
    is_leaf_type,
    is_non_null_type,
)

from graph.api import field_costs
from graph.documents.cost import declared_cost, field_cost
from graph.strawberry_adapter import core_schema, field_declaration
from tests.support.schema import CORE

ROOTS = {"Query", "Mutation", "Subscription"}
READS = {
    "Actor.user",
    "UserEvent.user",
    "UserEvent.userEdge",
    "VersionConflictError.changedBy",
    "VersionConflictError.changes",
    "UserEventConnection.countAtMost",
    "UserConnection.followFrom",
    "UserConnection.totalCount",
    "UserConnection.countAtMost",
    "UserConnection.statusCounts",
    "CreateUserPayload.user",
    "CreateUserPayload.userEdge",
    "UpdateUserPayload.user",
    "UpdateUserPayload.userEdge",
    "UpsertUserPayload.user",
    "UpsertUserPayload.userEdge",
    "DeactivateUserPayload.user",
    "DeactivateUserPayload.userEdge",
    "ReactivateUserPayload.user",
    "ReactivateUserPayload.userEdge",
    "DeleteUserPayload.user",
    "DeleteUserPayload.userEdge",
    "RestoreUserPayload.user",
    "RestoreUserPayload.userEdge",
    "BulkResult.user",
    "BulkResult.userEdge",
}
PER_ROW = {
    "UserConnection.edges",
    "UserConnection.nodes",
    "UserEventConnection.edges",
    "UserEventConnection.nodes",
    "BulkUsersPayload.results",
}
ROWS = {
    "User.history": (("first", "last"), 20, 100, None, False),
    "Query.users": (("first", "last"), 20, 100, None, False),
    "Query.userEvents": (("first", "last"), 20, 100, None, False),
    "Query.nodes": (("ids",), 0, 100, None, True),
    "Mutation.bulkUsers": (("input",), 0, 500, "operations", False),
}


def undeclared(schema: GraphQLSchema) -> Iterator[str]:
    """Yield the fields that may read from the database and declare no cost."""
    for type_ in schema.type_map.values():
        if is_introspection_type(type_) or not isinstance(
            type_, GraphQLObjectType | GraphQLInterfaceType
        ):
            continue
        for name, field in type_.fields.items():
            cost = declared_cost(field)
            if cost is None and _may_read(field):
                yield f"{type_.name}.{name}"
            if cost and cost.rows and not cost.rows.whole and not _has_rows(field):
                yield f"a list of {get_named_type(field.type).name}, for {type_.name}.{name}"


def _may_read(field: GraphQLField) -> bool:
    declaration = field_declaration(field)
    can_be_null = not is_non_null_type(field.type)
    return (declaration is not None and declaration.base_resolver is not None) or (
        can_be_null and not is_leaf_type(get_named_type(field.type))
    )


def _has_rows(field: GraphQLField) -> bool:
    fields = getattr(get_named_type(field.type), "fields", {}).values()
    return any((cost := declared_cost(below)) and cost.per_row for below in fields)


def test_declared_costs_of_the_schema() -> None:
    reads, per_row, rows = set(), set(), {}
    for type_ in CORE.type_map.values():
        if is_introspection_type(type_) or not isinstance(
            type_, GraphQLObjectType | GraphQLInterfaceType
        ):
            continue
        for name, field in type_.fields.items():
            if cost := declared_cost(field):
                named = f"{type_.name}.{name}"
                if cost.reads and type_.name not in ROOTS:
                    reads.add(named)
                if cost.per_row:
                    per_row.add(named)
                if row_count := cost.rows:
                    rows[named] = (
                        row_count.names,
                        row_count.default,
                        row_count.most,
                        row_count.member,
                        row_count.whole,
                    )
    assert (reads, per_row, rows) == (READS, PER_ROW, ROWS)


@strawberry.type
class Thing:
    name: str

    @strawberry.field
    async def read(self) -> str:
        return self.name


@strawberry.type
class Things:
    nodes: list[Thing]


@strawberry.type
class Query:
    @strawberry.field(metadata=field_costs.PAGE)
    async def things(self, first: int | None = None) -> Things | None:
        return Things(nodes=[Thing(name="a")] * (first or 1))

    @strawberry.field(metadata=field_costs.ONE_READ)
    async def thing(self) -> Thing | None:
        return None

    other: Thing | None = None


def test_every_field_that_may_read_declares_its_cost() -> None:
    assert list(undeclared(CORE)) == []


def test_undeclared_costs_are_found_by_field() -> None:
    assert sorted(undeclared(core_schema(strawberry.Schema(query=Query)))) == [
        "Query.other",
        "Thing.read",
        "a list of Things, for Query.things",
    ]


def test_field_with_a_resolver_and_without_a_declaration_costs_one() -> None:
    thing = core_schema(strawberry.Schema(query=Query)).type_map["Thing"]
    assert isinstance(thing, GraphQLObjectType)
    fields = thing.fields
    assert (field_cost(fields["read"]), field_cost(fields["name"])) == (1, 0)
