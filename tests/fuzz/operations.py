"""Operations that fit the schema, or miss it by a little: made by hypothesis-graphql.

schemathesis makes its GraphQL operations by the same library and sends them over HTTP alone, so it
would add nothing here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
from graphql import (
    ArgumentNode,
    GraphQLSchema,
    IntValueNode,
    NameNode,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    build_schema,
    get_named_type,
    parse,
    print_ast,
    value_from_ast_untyped,
    visit,
)
from hypothesis import strategies as st
from hypothesis_graphql import Mode, from_schema, nodes

SDL = (Path(__file__).parents[2] / "schema.graphql").read_text()
MOMENTS = ["2026-01-31T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-23:59"]
SCALARS = {
    "BigInt": st.integers(-(2**64), 2**64).map(nodes.Int),
    "DateTime": st.sampled_from([*MOMENTS, "2026-02-30T00:00:00Z", "now"]).map(nodes.String),
    "JSON": st.text().map(nodes.String),
}


@dataclass(frozen=True)
class Known:
    """What the directory holds, so that operations find something."""

    ids: list[str]
    cursors: list[str]

    @cached_property
    def texts(self) -> list[str]:
        return [*self.ids, *self.cursors]


@dataclass(frozen=True)
class Operation:
    query: str
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return "subscription" in self.query

    @property
    def payload(self) -> dict[str, Any]:
        given = {"variables": self.variables} if self.variables else {}
        return {"query": self.query} | given


def _schemas() -> tuple[GraphQLSchema, GraphQLSchema]:
    """Give the schema, and one whose queries are the subscriptions, as it makes only queries."""
    schema = build_schema(SDL)
    return schema, GraphQLSchema(query=schema.subscription_type, types=schema.type_map.values())


SCHEMA, FOLLOWING = _schemas()


def drawn(
    schema: GraphQLSchema,
    mode: Mode,
    count: int,
    seed: int,
    make: Callable[..., st.SearchStrategy[Any]] = from_schema,
) -> list[str]:
    texts: list[str] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(make(schema, custom_scalars=SCALARS, mode=mode))
    def note(text: object) -> None:
        texts.append(str(text))

    if count:
        note()
    return texts


def operations(count: int, seed: int, known: Known) -> list[Operation]:
    """Give about as many: most of them valid, half of those with variables."""
    chance = Random(seed)  # noqa: S311 - the same operations on every run
    valid = drawn(SCHEMA, Mode.POSITIVE, count * 6 // 10, seed)
    wrong = drawn(SCHEMA, Mode.NEGATIVE, count * 2 // 10, seed)
    live = drawn(FOLLOWING, Mode.POSITIVE, count * 2 // 10, seed)
    made = [lively(Operation(text), SCHEMA, known, chance) for text in valid]
    made += [Operation(text) for text in wrong]
    for text in live:
        found = lively(Operation(text), FOLLOWING, known, chance)
        query = "subscription " + found.query.removeprefix("query ")
        made.append(Operation(query, found.variables))
    return made


class _Enliven(Visitor):
    """Put ids and cursors of the directory where such are asked for, mostly."""

    def __init__(self, types: TypeInfo, known: Known, chance: Random) -> None:
        super().__init__()
        self.types = types
        self.known = known
        self.chance = chance

    def enter_string_value(self, node: StringValueNode, *_: Any) -> StringValueNode | None:
        return self._instead(node)

    def enter_int_value(self, node: IntValueNode, *_: Any) -> StringValueNode | None:
        return self._instead(node)

    def _instead(self, node: StringValueNode | IntValueNode) -> StringValueNode | None:
        argument = self.types.get_argument()
        wanted = self.types.get_input_type()
        name = get_named_type(wanted).name if wanted else ""
        if self.chance.random() < 0.2 or node.value in self.known.texts:
            return None
        if name == "ID":
            return StringValueNode(value=self.chance.choice(self.known.ids))
        if name == "String" and argument and "cursor" in (argument.description or ""):
            return StringValueNode(value=self.chance.choice(self.known.cursors))
        return None


class _Lift(Visitor):
    """Take each argument's value out into a variable."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self.types = types
        self.definitions: list[str] = []
        self.variables: dict[str, Any] = {}

    def enter_argument(self, node: ArgumentNode, *_: Any) -> ArgumentNode | None:
        wanted = self.types.get_input_type()
        if wanted is None or isinstance(node.value, VariableNode):
            return None
        name = f"v{len(self.variables)}"
        self.definitions.append(f"${name}: {wanted}")
        self.variables[name] = value_from_ast_untyped(node.value)
        return ArgumentNode(name=node.name, value=VariableNode(name=NameNode(value=name)))


def lively(operation: Operation, schema: GraphQLSchema, known: Known, chance: Random) -> Operation:
    types = TypeInfo(schema)
    document = parse(operation.query)
    document = visit(document, TypeInfoVisitor(types, _Enliven(types, known, chance)))
    if chance.random() < 0.5:
        return Operation(_named(print_ast(document), ""))
    types = TypeInfo(schema)
    lift = _Lift(types)
    document = visit(document, TypeInfoVisitor(types, lift))
    definitions = f"({', '.join(lift.definitions)})" if lift.definitions else ""
    return Operation(_named(print_ast(document), definitions), lift.variables)


def _named(text: str, definitions: str) -> str:
    keyword, _, rest = text.partition("{")
    return f"{keyword.strip() or 'query'} {definitions}{{{rest}"
