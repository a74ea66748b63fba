"""The size of a document, compared with that of the document with expanded fragments."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from graphql import Node, SelectionNode, Visitor, parse, validate, visit
from hypothesis import given
from hypothesis import strategies as st

from graph.documents.analysis import analyze
from graph.documents.metrics import MOST, SelectionMetrics
from tests.support.schema import CORE


def metrics(text: str) -> SelectionMetrics:
    return analyze(CORE, parse(text))


def selected(text: str) -> int:
    """The number of selections in a text, without expanding fragments."""
    found: list[Node] = []

    class Counting(Visitor):
        def enter(self, node: Node, *_: Any) -> None:
            if isinstance(node, SelectionNode):
                found.append(node)

    visit(parse(text), Counting())
    return len(found)


def cost(text: str, **variables: Any) -> int:
    return metrics(text).amounts(None, variables).cost


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ __typename }", 0),
        ("{ __schema { types { name interfaces { name } } } }", 0),
        ("{ user(id: 1) { id displayName } }", 1),
        ("{ user(id: 1) { ...on Node { ...on User { history(last: 7) { nodes { id } } } } } }", 8),
        ("{ personalData(userId: 1) }", 1),
        ("{ users { nodes { id } } }", 20),
        ("{ users { pageInfo { hasNextPage } } }", 20),
        ("{ users { totalCount countAtMost(limit: 9) statusCounts { count } } }", 23),
        ("{ users(first: 5) { edges { node { history(first: 3) { nodes { at } } } } } }", 20),
        ("{ users(first: 5) { edges { node { history { nodes { at } } } } nodes { id } } }", 105),
        ("{ userEvents(last: 5) { nodes { user { id } actor { id } changes { field } } } }", 10),
        ("{ users(first: 0) { nodes { id } } }", 0),
        ("{ users(first: -1) { nodes { id } } }", 0),
        ("{ users(first: 101) { nodes { id } } }", 100),
        ("{ users(first: %s) { nodes { id } } }" % ("9" * 5_000), 100),
        ("{ users(first: null) { nodes { id } } }", 20),
        ("{ users(first: null, last: 3) { nodes { id } } }", 3),
        ("{ users(first: 2, last: 3) { nodes { id } } }", 3),
        ('{ users(first: "2") { nodes { id } } }', 20),
        ("{ nodes(ids: [1, 2, 3]) { id } }", 3),
        ("{ nodes(ids: 1) { id } }", 1),
        ("{ nodes(ids: []) { id } }", 0),
        ("{ nodes(ids: [1, 2]) { ... on User { history(first: 9) { nodes { id } } } } }", 20),
        ("mutation { bulkUsers(input: {operations: [{}, {}]}) { results { user { id } } } }", 4),
        ("mutation { deleteUser(input: {id: 1}) { user { id } errors { code } } }", 2),
        ("subscription { userEvents { user { id } } }", 2),
        ("{ users(first: 5) @skip(if: true) { nodes { id } } }", 5),
    ],
)
def test_cost_follows_literal_arguments(query: str, expected: int) -> None:
    assert cost(query) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("__typename", 0),
        ("__schema { types { name } }", 0),
        ("viewer { id } user(id: 1) { id }", 2),
        ("users(first: 9) { nodes { id } }", 9),
        ("nodes(ids: [1, 2]) { id }", 2),
        ("users(first: 5) { totalCount nodes { history(last: 3) { nodes { at } } } }", 21),
    ],
)
def test_fields_below_a_payload_cost_the_same_as_in_a_query(fields: str, expected: int) -> None:
    delete = f"mutation {{ deleteUser(input: {{id: 1}}) {{ query {{ {fields} }} }} }}"
    bulk = f"""mutation {{ bulkUsers(input: {{operations: [{{}}, {{}}]}}) {{
      results {{ index }} query {{ {fields} }} }} }}"""
    assert cost(f"{{ {fields} }}") == expected
    assert (cost(delete), cost(bulk)) == (1 + expected, 2 + expected)


PAGE = "query($first: Int = 7, $last: Int) { users(first: $first, last: $last) { nodes { id } } }"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"first": 3}, 3),
        ({"first": 3.0}, 3),
        ({"first": 500}, 100),
        ({"first": -5}, 0),
        ({"first": None}, 20),
        ({"first": None, "last": 4}, 4),
        ({"first": 3, "last": 4}, 4),
        ({"first": "3"}, 20),
        ({"first": True}, 20),
        ({"first": {"a": 1}}, 20),
        ({"first": 1e400}, 20),
    ],
)
def test_cost_follows_variables(variables: dict[str, Any], expected: int) -> None:
    assert cost(PAGE, **variables) == expected


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [1, 2, 3]}, 3),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": "1"}, 1),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [1] * 101}, 100),
        ("query($id: ID!) { nodes(ids: [$id, $id]) { id } }", {"id": "1"}, 2),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {}, 0),
        (
            "mutation($i: BulkUsersInput!) { bulkUsers(input: $i) { results { index } } }",
            {"i": {"operations": [{}, {}, {}]}},
            3,
        ),
        (
            (
                "mutation($o: [UserOperation!]!) "
                "{ bulkUsers(input: {operations: $o}) { results { user { id } } } }"
            ),
            {"o": [{}] * 600},
            1_000,
        ),
        ("mutation($i: BulkUsersInput!) { bulkUsers(input: $i) { succeeded } }", {"i": 1}, 0),
    ],
)
def test_cost_follows_the_length_of_lists(
    query: str, variables: dict[str, Any], expected: int
) -> None:
    assert cost(query, **variables) == expected


def doubling(number: int, inmost: str) -> str:
    spreads = (f"...f{i + 1} ...f{i + 1}" for i in range(number))
    defined = (f"fragment f{i} on User {{ {spread} }}" for i, spread in enumerate(spreads))
    return f"{{ user(id: 1) {{ ...f0 }} }} {' '.join(defined)} fragment f{number} on User {inmost}"


@pytest.mark.parametrize("number", [1, 10, 30, 60])
def test_doubling_fragments_are_visited_once(number: int) -> None:
    inmost = "{ a: id @skip(if: true) history(first: $n) { __typename } }"
    query = "query($n: Int)" + doubling(number, inmost)
    found = metrics(query)
    assert found.visits == 2 + 2 * number + 3
    size = found.operations[None]
    assert size.fields == min(MOST, 1 + 3 * 2**number)
    assert size.aliases == size.directives == min(MOST, 2**number)
    assert size.depth == 3
    assert found.amounts(None, {"n": 2}).cost == min(MOST, 1 + 3 * 2**number - 2**number)
    assert len(found.steps) <= 1 + number


@pytest.mark.parametrize(
    "fragments",
    [
        "fragment A on User { id ...A }",
        "fragment A on User { id ...B } fragment B on User { id ...A }",
        (
            "fragment A on User { history { nodes { user { ...A ...B } } } } "
            "fragment B on User { id ...C } fragment C on User { ...B ...A }"
        ),
        "fragment A on User { ...Missing } ",
        "fragment A on Missing { id nothing { id } }",
        "fragment A on Int { id } fragment A on UserStatus { id }",
        "fragment A on UserFilter { and { id } }",
    ],
)
def test_analysis_of_invalid_fragments_terminates(fragments: str) -> None:
    query = f"{{ user(id: 1) {{ ...A }} }} {fragments}"
    found = metrics(query)
    assert found.visits == selected(query)
    assert validate(CORE, parse(query))


@pytest.mark.parametrize(
    "query",
    [
        "{ nothing { at { all } } }",
        "query($a: Nothing = [1]) { users(first: {a: 1}, last: [2]) { nodes { id } } }",
        "{ nodes { id } } { nodes(ids: {a: 1}) { id } }",
        "mutation { bulkUsers(input: 3) { results { index } } }",
        "mutation { bulkUsers { results { index } } }",
        "subscription { a b }",
        "type A { b: Int } { id }",
        "{ users(first: $unknown) { edges } }",
        "{ users { } }",
    ],
)
def test_invalid_documents_have_a_cost(query: str) -> None:
    assert metrics(query).amounts(None, {}).cost >= 0


def test_fields_aliases_and_directives_are_counted_everywhere() -> None:
    size = metrics(
        "query($a: Boolean! @x) @y {"
        "a: user(id: 1) @skip(if: $a) { ...F @include(if: $a) ... @z { b: id } } ...Q }"
        "fragment F on User @w { c: id @v history { nodes { d: id } } }"
        "fragment Q on Query { e: __typename __typename }"
    ).operations[None]
    assert (size.fields, size.aliases, size.root_fields, size.depth) == (8, 5, 3, 4)
    assert size.directives == 7


def test_longest_list_is_found_everywhere() -> None:
    lists = "[1 2 3]", "{a: [1 {b: [1 2 3]}]}"
    for value in lists:
        for query in (
            f"{{ users(filter: {value}) {{ nodes {{ id }} }} }}",
            f"query($a: X = {value}) {{ id }}",
            f"query @x(a: {value}) {{ id }}",
            f"query($a: X @x(a: {value})) {{ id }}",
            f"{{ ... @x(a: {value}) {{ id }} }}",
            f"{{ id }} fragment F on User @x(a: {value}) {{ id }}",
            f"{{ ...F @x(a: {value}) }}",
        ):
            assert metrics(query).longest_list == 3


@dataclass(frozen=True)
class Field:
    """A field of a random document; or, with a type instead of a name, an inline fragment."""

    name: str
    alias: bool
    directive: bool
    rows: int | str | None
    below: tuple["Field | str", ...]


# The fields of each type that lead to other types.
OBJECTS: dict[str, dict[str, str]] = {
    "Query": {"user": "User", "users": "UserConnection", "userEvents": "UserEventConnection"},
    "User": {"history": "UserEventConnection"},
    "UserConnection": {"nodes": "User", "edges": "UserEdge", "pageInfo": "PageInfo"},
    "UserEventConnection": {"nodes": "UserEvent", "edges": "UserEventEdge"},
    "UserEdge": {"node": "User"},
    "UserEventEdge": {"node": "UserEvent"},
    "UserEvent": {"user": "User", "actor": "Actor"},
    "PageInfo": {},
    "Actor": {},
}
PAGED = {"users", "userEvents", "history"}
NAMED = ("Query", "User", "UserConnection", "UserEvent")
Document = tuple[tuple[Field | str, ...], ...]


@st.composite
def selections(
    draw: st.DrawFn, type_: str, spreads: dict[str, list[str]], depth: int
) -> tuple[Field | str, ...]:
    found: list[Field | str] = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = ["__typename", *spreads.get(type_, ())]
        if depth:
            kinds += [*OBJECTS[type_], "..."]
        kind = draw(st.sampled_from(kinds))
        if kind in spreads.get(type_, ()):
            found.append(kind)
            continue
        inner = type_ if kind == "..." else OBJECTS[type_].get(kind)
        below = draw(selections(inner, spreads, depth - 1)) if inner else ()
        rows = draw(st.sampled_from([None, 0, 1, 3, "$n", "$m"])) if kind in PAGED else None
        alias = kind != "..." and draw(st.booleans())
        found.append(Field(kind, alias, draw(st.booleans()), rows, below))
    return tuple(found)


@st.composite
def fragmented(draw: st.DrawFn) -> Document:
    """The selections of an operation and of its fragments, which spread later ones."""
    parts = []
    for index in range(-1, len(NAMED) * 2):
        later = {
            type_: [f"F{i}" for i in range(index + 1, len(NAMED) * 2) if NAMED[i % 4] == type_]
            for type_ in NAMED
        }
        parts.append(draw(selections(NAMED[max(index, 0) % 4], later, 3)))
    return tuple(parts)


def written(parts: tuple[Field | str, ...]) -> str:
    texts = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(f"...{part}")
            continue
        taken = f"(first: {part.rows})" if part.rows is not None else ""
        below = f" {{ {written(part.below)} }}" if part.below else ""
        alias = f"a{number}: " if part.alias else ""
        texts.append(f"{alias}{part.name}{taken}{' @skip(if: $s)' * part.directive}{below}")
    return " ".join(texts)


def expanded(parts: tuple[Field | str, ...], document: Document) -> Iterator[Field]:
    for part in parts:
        if isinstance(part, str):
            yield from expanded(document[int(part[1:]) + 1], document)
        elif part.name == "...":
            yield from expanded(part.below, document)
        else:
            yield part


def directives(parts: tuple[Field | str, ...], document: Document) -> int:
    return sum(
        directives(document[int(part[1:]) + 1], document)
        if isinstance(part, str)
        else part.directive + directives(part.below, document)
        for part in parts
    )


def expanded_sizes(parts: tuple[Field | str, ...], document: Document) -> tuple[int, int, int]:
    """The numbers of fields, aliases and levels, with expanded fragments."""
    fields, aliases, depth = 0, 0, 0
    for part in expanded(parts, document):
        more, named, deeper = expanded_sizes(part.below, document)
        fields, aliases = fields + 1 + more, aliases + part.alias + named
        depth = max(depth, 1 + deeper)
    return fields, aliases, depth


def naive_cost(
    part: Field, document: Document, given: dict[str, int], *, root: bool = False
) -> int:
    below = list(expanded(part.below, document))
    if part.name not in PAGED:
        own = part.name == "user" or (root and part.name != "__typename")
        return own + sum(naive_cost(field, document, given) for field in below)
    rows = 20 if part.rows is None else part.rows
    rows = given[rows] if isinstance(rows, str) else rows
    each = [naive_cost(f, document, given) for f in below if f.name in {"nodes", "edges"}]
    once = [naive_cost(f, document, given) for f in below if f.name not in {"nodes", "edges"}]
    return rows * (1 + sum(each)) + sum(once)


@given(fragmented(), st.integers(0, 100), st.integers(0, 100))
def test_metrics_equal_those_of_the_expanded_document(document: Document, n: int, m: int) -> None:
    text = f"query($s: Boolean!, $n: Int, $m: Int = {m}) {{ {written(document[0])} }} " + " ".join(
        f"fragment F{index} on {NAMED[index % 4]} {{ {written(parts)} }}"
        for index, parts in enumerate(document[1:])
    )
    found = metrics(text)
    size = found.operations[None]
    assert (size.fields, size.aliases, size.depth) == expanded_sizes(document[0], document)
    assert size.directives == directives(document[0], document)
    assert size.root_fields == len(list(expanded(document[0], document)))
    roots = expanded(document[0], document)
    wanted = sum(naive_cost(f, document, {"$n": n, "$m": m}, root=True) for f in roots)
    assert found.amounts(None, {"n": n, "m": m}).cost == min(MOST, wanted)
    assert found.visits == selected(text)
