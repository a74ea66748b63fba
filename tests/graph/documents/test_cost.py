"""The costs declared on the fields of the schema."""

import pytest
import strawberry
from graphql import GraphQLInterfaceType, GraphQLObjectType, is_introspection_type

from graph.api import field_costs
from graph.documents.cost import MissingCostError, check_declared, declared_cost
from graph.execution.schema import Schema
from graph.strawberry_adapter import core_schema
from tests.support.schema import CORE

ROOTS = {"Query", "Mutation", "Subscription"}
READS = {
    "UserEvent.user",
    "UserConnection.totalCount",
    "UserConnection.countAtMost",
    "UserConnection.statusCounts",
    "CreateUserPayload.user",
    "CreateUserPayload.userEdge",
    "UpdateUserPayload.user",
    "UpsertUserPayload.user",
    "DeactivateUserPayload.user",
    "ReactivateUserPayload.user",
    "DeleteUserPayload.user",
    "RestoreUserPayload.user",
    "RestoreUserPayload.userEdge",
    "BulkResult.user",
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


def test_missing_costs_are_reported_by_field() -> None:
    core = core_schema(strawberry.Schema(query=Query))
    with pytest.raises(MissingCostError) as error:
        check_declared(core)
    assert "Query.other" in str(error.value)
    assert "Thing.read" in str(error.value)
    assert "a list of Things, for Query.things" in str(error.value)
    assert "Query.thing," not in str(error.value)


def test_schema_with_missing_costs_is_rejected() -> None:
    with pytest.raises(MissingCostError):
        Schema(query=Query, mutation=None, subscription=None, types=())
