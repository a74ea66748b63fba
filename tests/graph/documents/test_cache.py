"""Limits, validation and caching of documents."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLError, OperationType, get_introspection_query, parse

from graph.documents import parsing
from graph.documents.cache import DocumentCache
from graph.documents.limits import LimitExceeded, Limits
from graph.documents.parsing import InvalidDocument
from graph.execution.strawberry_types import StrawberryResolvers
from tests.support.schema import CORE, SCHEMA

TYPENAME = "{ __typename }"


def errors_of(
    query: str,
    name: str | None = None,
    variables: dict[str, Any] | None = None,
    **settings: Any,
) -> list[Any]:
    """The errors as clients see them; empty if the document can be executed."""
    try:
        DocumentCache(CORE, Limits(), **settings).prepare(query, name, variables)
    except InvalidDocument as invalid:
        return [error.formatted for error in invalid.errors]
    return []


def failure(code: str, message: str, line: int = 0, column: int = 0) -> dict[str, Any]:
    locations = {"locations": [{"line": line, "column": column}]} if line else {}
    return {"message": message, **locations, "extensions": {"code": code}}


def nested(depth: int) -> str:
    """A query of this depth, whose pages have one row."""
    names = ("user(id: 1)", *("history(first: 1)", "nodes", "user") * depth)
    return "{" + "{".join((*names[: depth - 1], "__typename")) + "}" * depth


def values(tokens: int) -> str:
    """A query of this many tokens."""
    left = (tokens - 23) // 2
    lists = "1 " * left, "1 " * (tokens - 23 - left)
    return "{{users(filter:{{id:[{}]databaseId:[{}]}}){{nodes{{id}}}}}}".format(*lists)


def fragments(number: int) -> str:
    spreads = "".join(f"...f{i} " for i in range(number))
    defined = "".join(f"fragment f{i} on User {{ id }}" for i in range(number))
    return f"{{ user(id: 1) {{ {spreads} }} }} {defined}"


def of_user(selections: str) -> str:
    return f"{{ user(id: 1) {{ {selections} }} }}"


LIMITS = [
    (20_000, "QUERY_TOO_LONG", "A document", "characters", lambda n: TYPENAME + " " * (n - 14)),
    (1_000, "TOO_MANY_TOKENS", "A document", "tokens", values),
    (1_000, "TOO_MANY_TOKENS", "A document", "tokens", lambda n: "#\n" * n + TYPENAME),
    (1_000, "TOO_MANY_TOKENS", "A document", "tokens", lambda n: TYPENAME + "#\n" * n),
    (12, "TOO_DEEP", "An operation", "levels of fields", nested),
    (300, "TOO_MANY_FIELDS", "An operation", "fields", lambda n: of_user("id " * (n - 1))),
    (
        15,
        "TOO_MANY_ALIASES",
        "An operation",
        "aliases",
        lambda n: of_user("".join(f"a{i}: id " for i in range(n))),
    ),
    (
        20,
        "TOO_MANY_DIRECTIVES",
        "An operation",
        "directives",
        lambda n: of_user("id @skip(if: true) " * n),
    ),
    (
        10,
        "TOO_MANY_ROOT_FIELDS",
        "An operation",
        "root fields",
        lambda n: "{%s}" % ("__typename " * n),
    ),
    (50, "TOO_MANY_FRAGMENTS", "A document", "fragments", fragments),
    (
        500,
        "LIST_TOO_LONG",
        "A list",
        "elements",
        lambda n: "{users(filter:{and:{id:[%s]}}){nodes{id}}}" % ("1 " * n),
    ),
    (
        500,
        "LIST_TOO_LONG",
        "A list",
        "elements",
        lambda n: "query($i:[ID!]=[%s]){users(filter:{id:$i}){nodes{id}}}" % ("1 " * n),
    ),
]


@pytest.mark.parametrize(("limit", "code", "whole", "what", "document"), LIMITS)
def test_document_at_a_limit_passes_and_above_it_is_rejected(
    limit: int, code: str, whole: str, what: str, document: Callable[[int], str]
) -> None:
    assert errors_of(document(limit)) == []
    assert errors_of(document(limit + 1)) == [
        {
            "message": f"{whole} can have at most {limit} {what}.",
            "extensions": {"code": code, "limit": limit},
        }
    ]


COST = "query($n: Int) { users(first: 100) { nodes { history(first: $n) { nodes { id } } } } }"


def test_cost_is_checked_with_the_variables_of_each_request() -> None:
    prepared = DocumentCache(CORE, Limits())
    assert [prepared.prepare(COST, None, {"n": n}).cost for n in (1, 20, 49)] == [200, 2100, 5000]
    assert prepared.prepare(COST, None, None).cost == 2100
    assert prepared.prepare(COST.replace("Int)", "Int = 3)"), None, {}).cost == 400
    with pytest.raises(InvalidDocument) as refusal:
        prepared.prepare(COST, None, {"n": 50})
    assert [error.formatted for error in refusal.value.errors] == [
        {
            "message": "The operation costs 5100, by the rows it asks for; it can cost 5000. "
            "Ask for smaller pages.",
            "extensions": {"code": "TOO_EXPENSIVE", "limit": 5000},
        }
    ]


def test_list_limit_applies_at_any_depth_of_variables() -> None:
    query = "query($f: UserFilter) { users(filter: $f) { nodes { id } } }"
    assert errors_of(query, None, {"f": {"and": [{"id": ["x"] * 500}]}}) == []
    assert errors_of(query, None, {"f": {"and": [{"id": ["x"] * 501}]}}) == [
        {
            "message": "A list can have at most 500 elements.",
            "extensions": {"code": "LIST_TOO_LONG", "limit": 500},
        }
    ]
    deep: Any = ["x"] * 501
    for _ in range(5_000):
        deep = [deep]
    codes = [error["extensions"]["code"] for error in errors_of(query, None, {"f": deep})]
    while isinstance(deep, list) and len(deep) == 1:
        deep = deep[0]  # otherwise Python frees the nested lists by recursion
    assert codes == ["LIST_TOO_LONG"]


FILTERED = "query($f: UserFilter) { users(filter: $f) { nodes { id } } }"
BULK = "mutation($i: BulkUsersInput!) { bulkUsers(input: $i) { succeeded } }"
WHOLE = {
    "username": "ada",
    "email": "ada@example.com",
    "displayName": None,
    "isActive": True,
    "externalId": "1",
    "validateOnly": False,
    "idempotencyKey": None,
}


def too_many_values(whole: str, limit: int) -> list[dict[str, Any]]:
    message = f"{whole} can have at most {limit} values."
    return [{"message": message, "extensions": {"code": "TOO_MANY_VALUES", "limit": limit}}]


def filters(number: int) -> dict[str, Any]:
    """Variables with so many filters, none in too long a list: 24 lists and objects around them."""
    lists: list[list[Any]] = [[{}] * min(500, number - n) for n in range(0, number, 500)]
    return {"f": {"or": [{"and": each} for each in lists]}}


def test_value_limit_applies_to_nested_variables() -> None:
    assert errors_of(FILTERED, None, filters(6_000 - 27)) == []
    excess = too_many_values("The variables", 6_000)
    assert errors_of(FILTERED, None, filters(6_000 - 26)) == excess
    assert errors_of(TYPENAME, None, {"nobody's": [["x"] * 500] * 12}) == excess
    assert errors_of(TYPENAME, None, dict.fromkeys(map(str, range(6_000)))) == excess
    assert errors_of(TYPENAME, None, dict.fromkeys(map(str, range(5_999)))) == []


def test_value_limit_applies_to_the_document() -> None:
    query = "query ($f: UserFilter = {or: [{}, {}]}) { users(filter: $f, first: 1) { totalCount } }"
    limits = Limits(values=6)
    DocumentCache(CORE, limits).prepare(query, None, None)
    with pytest.raises(InvalidDocument) as refusal:
        DocumentCache(CORE, limits).prepare(query.replace("{}, {}", "{}, {}, {}"), None, None)
    assert [e.formatted for e in refusal.value.errors] == too_many_values("A document", 6)


@pytest.mark.parametrize("number", [1, 500, 1_000])
def test_value_limit_of_a_batch_grows_with_its_operations(number: int) -> None:
    operations: list[Any] = [{"create": WHOLE}] * number
    given = {"i": {"operations": operations, "mode": "ATOMIC"}}
    assert errors_of(BULK, None, given) == []
    operations[0] = {"create": WHOLE | dict.fromkeys(map(str, range(20 * number)))}
    assert errors_of(BULK, None, given) == too_many_values("The variables", 20 * number)


def test_value_limit_of_a_batch_does_not_extend_to_other_values() -> None:
    hidden = {"operations": [0] * 1_000, "or": filters(6_000)["f"]["or"]}
    excess = too_many_values("The variables", 6_000)
    assert errors_of(FILTERED, None, {"f": hidden}) == excess
    within: list[Any] = [{"operations": [WHOLE] * 500}] * 500
    excess = too_many_values("The variables", 20 * 500)
    assert errors_of(BULK, None, {"i": {"operations": within}}) == excess


def test_all_exceeded_limits_are_reported_together() -> None:
    query = "{{{}}}".format(
        "".join(f"a{i}: user(id: 1) {{ id @skip(if: true) }}" for i in range(30))
    )
    codes = [error["extensions"]["code"] for error in errors_of(query)]
    assert codes == ["TOO_MANY_ALIASES", "TOO_MANY_DIRECTIVES", "TOO_MANY_ROOT_FIELDS"]


def test_limits_apply_to_unused_operations_and_fragments() -> None:
    aliases = "".join(f"a{i}: id " for i in range(16))
    for hidden in (
        f"query B {of_user(aliases)}",
        f"fragment F on User {{ {aliases} }}",
        f"query A {of_user(aliases)} query A {TYPENAME}",
        f"fragment F on User {{ {aliases} }} fragment F on User {{ id }}",
        f"fragment F on User {{ id }} fragment F on User {{ {aliases} }}",
        f"query B {{ user(id: 1) {{ ...F }} }} fragment F on User {{ ... {{ {aliases} }} }}",
    ):
        errors = errors_of(f"query A {TYPENAME} {hidden}", "A")
        assert [error["extensions"]["code"] for error in errors] == ["TOO_MANY_ALIASES"]


OPTIONS = {
    "specified_by_url": True,
    "directive_is_repeatable": True,
    "schema_description": True,
    "input_value_deprecation": True,
    "one_of": True,
}


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["short", "whole"])
def test_standard_introspection_query_is_accepted(options: dict[str, bool]) -> None:
    assert errors_of(get_introspection_query(**options)) == []


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { fields { type { fields { name } } } } } }",
        (
            "{ __schema { types { ...T } } } fragment T on __Type { possibleTypes { ...F } }"
            "fragment F on __Type { interfaces { name } }"
        ),
    ],
)
def test_deeply_nested_introspection_is_rejected(query: str) -> None:
    message = "An operation can have at most 2 lists of types within each other."
    assert errors_of(query) == [
        {"message": message, "extensions": {"code": "TOO_DEEP", "limit": 2}}
    ]


def test_depth_limit_does_not_apply_to_introspection() -> None:
    wrapped = "ofType { " * 20 + "name" + " }" * 20
    assert errors_of(f'{{ __type(name: "User") {{ fields {{ type {{ {wrapped} }} }} }} }}') == []


def test_field_limit_applies_to_introspection() -> None:
    names = "types { %s }" % ("name " * 300)
    codes = [error["extensions"]["code"] for error in errors_of(f"{{ __schema {{ {names} }} }}")]
    assert codes == ["TOO_MANY_FIELDS"]


@pytest.mark.parametrize(
    "query",
    [
        '{ __type(name: "User") { name } }',
        "{ ... @skip(if: true) { __schema { queryType { name } } } }",
        "{ ...F } fragment F on Query { a: __schema { queryType { name } } }",
        get_introspection_query(),
    ],
)
def test_introspection_is_rejected_if_disabled(query: str) -> None:
    message = "This server does not disclose its schema."
    assert errors_of(query, introspection=False) == [failure("INTROSPECTION_DISABLED", message)]
    assert errors_of(query) == []
    assert errors_of("{ __typename user(id: 1) { __typename } }", introspection=False) == []


INVALID = "Syntax Error: Invalid character"
NESTED = "Syntax Error: Document is nested too deeply. Parsing aborted."


@pytest.mark.parametrize(
    ("query", "message", "line", "column"),
    [
        ("", "Syntax Error: Unexpected <EOF>.", 1, 1),
        ("," * 20_000, "Syntax Error: Unexpected <EOF>.", 1, 20_001),
        ("# nothing\n" * 1_000, "Syntax Error: Unexpected <EOF>.", 1_001, 1),
        ("{ node(\0) }", "Syntax Error: Unexpected character: U+0000.", 1, 8),
        ("{ \ud800 }", f"{INVALID}: U+D800.", 1, 3),
        ('{ node(id: "\udfff") }', f"{INVALID} within String: U+DFFF.", 1, 13),
    ],
)
def test_syntax_error_has_a_message_and_location(
    query: str, message: str, line: int, column: int
) -> None:
    assert errors_of(query) == [failure("GRAPHQL_PARSE_FAILED", message, line, column)]


@pytest.mark.parametrize("query", ["{a" * 400, "{a(x:" + "[" * 900, "{a(x:" + "{x:" * 300])
def test_deeply_nested_document_is_a_syntax_error(query: str) -> None:
    (error,) = errors_of(query)
    assert (error["message"], error["extensions"]) == (NESTED, {"code": "GRAPHQL_PARSE_FAILED"})


def test_document_above_the_length_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "parse", None)
    codes = [error["extensions"]["code"] for error in errors_of("{" + "name " * 180_000)]
    assert codes == ["QUERY_TOO_LONG"]


@pytest.mark.parametrize(
    "query", ["\ufeff{ __typename }", '{ node(id: """\n a\n\n  \\""" b""") { id } }']
)
def test_byte_order_mark_and_block_string_are_accepted(query: str) -> None:
    assert errors_of(query) == []


def test_at_most_five_truncated_errors_are_reported() -> None:
    long = "x" * 2_000
    errors = errors_of("{" + "".join(f"{long}{i} " for i in range(7)) + "}")
    cut = f"Cannot query field '{long}"[:299] + "…"
    assert errors == [failure("GRAPHQL_VALIDATION_FAILED", cut, 1, 2 + i * 2_002) for i in range(5)]


def test_search_for_field_conflicts_is_bounded() -> None:
    same = "history(first: 1) { nodes { id actor { kind } } } "
    other = "history { nodes { id actor { kind } } }"
    [conflict] = errors_of(of_user(same + other))
    assert conflict == failure(
        "GRAPHQL_VALIDATION_FAILED",
        "Fields 'history' conflict because they have differing arguments. "
        "Use different aliases on the fields to fetch both if this was intentional.",
    ) | {"locations": conflict["locations"]}
    message = "Too many fields have the same name and may conflict."
    assert errors_of(of_user(same * 57 + other)) == [failure("GRAPHQL_VALIDATION_FAILED", message)]
    assert errors_of(of_user(same * 58)) == []


def test_suggestions_are_omitted_if_disabled() -> None:
    message = "Cannot query field 'usernam' on type 'User'."
    query = of_user("usernam")
    for suggestions, hint in ((True, " Did you mean 'username'?"), (False, "")):
        expected = failure("GRAPHQL_VALIDATION_FAILED", message + hint, 1, 17)
        assert errors_of(query, suggestions=suggestions) == [expected]


TWO = "query A { __typename } mutation B { __typename }"
AMBIGUOUS = "There are several operations; name the one to execute."
UNKNOWN = "The document has no operation of this name."


@pytest.mark.parametrize(
    ("query", "name", "message"),
    [
        (TWO, None, AMBIGUOUS),
        (TWO, "C", UNKNOWN),
        (TYPENAME, "A", UNKNOWN),
        (TYPENAME, "", UNKNOWN),
        ("fragment F on User { id }", None, "The document has no operation."),
        ("type A { b: Int }", None, "The document has no operation."),
    ],
)
def test_ambiguous_or_unknown_operation_is_rejected(
    query: str, name: str | None, message: str
) -> None:
    assert errors_of(query, name) == [failure("OPERATION_RESOLUTION_FAILURE", message)]


def test_operation_is_selected_by_name() -> None:
    prepared = DocumentCache(CORE, Limits()).prepare(TWO, "B", None)
    assert prepared.operation is prepared.document.definitions[1]
    assert prepared.operation.operation is OperationType.MUTATION


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are parsed from now on."""
    texts: list[str] = []

    def counted(query: str, **options: Any) -> Any:
        texts.append(query)
        return parse(query, **options)

    monkeypatch.setattr(parsing, "parse", counted)
    return texts


def test_cache_parses_a_document_once_and_evicts_the_least_recently_used(parsed: list[str]) -> None:
    prepared = DocumentCache(CORE, Limits(), kept=2)
    a, b, c = "{ a: __typename }", "{ b: __typename }", "{ c: __typename }"
    first = prepared.prepare(a, None, None)
    assert prepared.prepare(a, None, {"any": 1}).document is first.document
    for query in (b, a, c, a, b):
        prepared.prepare(query, None, None)
    assert parsed == [a, b, c, b]


def test_cache_is_bounded_by_the_total_length_of_texts(parsed: list[str]) -> None:
    prepared = DocumentCache(CORE, Limits(), kept_characters=40)
    a, b, c = "{ a: __typename }", "{ b: __typename }", "{ c: __typename }"
    for query in (a, b, a, c, b):
        prepared.prepare(query, None, None)
    assert parsed == [a, b, c, b]


def test_cache_is_bounded_by_the_total_number_of_fields(parsed: list[str]) -> None:
    prepared = DocumentCache(CORE, Limits(), kept_fields=5)
    a, b, c = "{ a: __typename b: __typename }", "{ c: __typename }", "{ ...F } fragment F on Query"
    c += "{ d: __typename e: __typename f: __typename }"
    for query in (a, b, a, c, a, b):
        prepared.prepare(query, None, None)
    assert parsed == [a, b, c, b]


def test_evicted_document_is_freed_immediately() -> None:
    """It has no reference cycles, which would keep it until the garbage collector runs."""
    query = """query ($id: ID!, $all: Boolean!) { ...F
      users { edges { node { id } } } node(id: $id) { ... on User @include(if: $all) { id } } }
      fragment F on Query { user(id: $id) { id history { nodes { actor { kind } } } } }"""
    kept = DocumentCache(CORE, Limits(), StrawberryResolvers(SCHEMA), kept=1)
    compiled = kept.prepare(query, None, {}).compiled
    assert compiled
    parts: list[weakref.ref[Any]] = [weakref.ref(compiled)]
    for every in (True, False):
        variables = compiled.coerce({"id": "VXNlcjox", "all": every})
        selection = compiled._selection_set(variables)  # noqa: SLF001 - as an execution has it
        for field in selection.fields:
            parts.append(weakref.ref(field.nodes))
            fast_path = field._fast_path  # noqa: SLF001
            fast_path.prepare(field.completer, field._generate, now=True)  # noqa: SLF001
            parts += [weakref.ref(function)] if (function := fast_path.function) else []
    assert len(parts) > 7
    del compiled, selection, variables, field, fast_path, function
    gc.disable()
    try:
        kept.prepare(TYPENAME, None, None)
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()


def test_invalid_document_is_not_cached(parsed: list[str]) -> None:
    prepared = DocumentCache(CORE, Limits())
    for query in ("{ nothing }", "{ nothing }"):
        with pytest.raises(InvalidDocument):
            prepared.prepare(query, None, None)
    assert parsed == ["{ nothing }"] * 2


def test_limit_exceeded_is_formatted_as_a_graphql_error() -> None:
    error = LimitExceeded("TOO_DEEP", 12, "Too deep.")
    assert isinstance(error, GraphQLError)
    assert error.formatted == {
        "message": "Too deep.",
        "extensions": {"code": "TOO_DEEP", "limit": 12},
    }
