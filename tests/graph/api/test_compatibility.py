"""Breaking changes of the schema are announced in the changelog.

What counts as a change is promised in docs/clients.md, under Compatibility.
"""

import re
from pathlib import Path

import pytest
from graphql import (
    DangerousChangeType,
    GraphQLInputField,
    build_schema,
    find_breaking_changes,
    find_dangerous_changes,
    print_ast,
)

from tests.graph.api.test_descriptions import members_of

ROOT = Path(__file__).parents[3]
RELEASED = Path(__file__).with_name("released.graphql")


def announced() -> str:
    """Return what the changelog says under Breaking, of the version that is not released yet."""
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert unreleased.startswith("Unreleased\n")
    found = re.search(r"### Breaking\n(.*?)(?=\n### |\Z)", unreleased, re.DOTALL)
    return found[1] if found else ""


def breaking_changes(before: str, after: str) -> list[str]:
    old, new = build_schema(before), build_schema(after)
    # Additions are dangerous, but promised. A changed default changes the answers of old documents.
    defaults = [
        change.description
        for change in find_dangerous_changes(old, new)
        if change.type is DangerousChangeType.ARG_DEFAULT_VALUE_CHANGE
    ]
    broken = [change.description for change in find_breaking_changes(old, new)]
    return [*broken, *defaults, *_changed_defaults_of_inputs(before, after)]


def _changed_defaults_of_inputs(before: str, after: str) -> list[str]:
    # graphql-core compares the defaults of arguments only.
    old, new = (
        {
            where: default and print_ast(default)
            for where, _, member in members_of(text)
            if isinstance(member, GraphQLInputField) and member.ast_node
            for default in [member.ast_node.default_value]
        }
        for text in (before, after)
    )
    return [
        f"{where} has changed its default value."
        for where, default in old.items()
        if where in new and new[where] != default
    ]


def test_the_schema_breaks_nothing_that_the_changelog_does_not_announce() -> None:
    """`tests/graph/api/released.graphql` is the schema of the last release.

    To announce a change, quote its description from this test's failure in the changelog, under
    Unreleased and Breaking. A release copies schema.graphql over released.graphql.
    """
    changes = breaking_changes(RELEASED.read_text(), (ROOT / "schema.graphql").read_text())
    assert [change for change in changes if change not in announced()] == []


BEFORE = """
type Query { a(n: Int = 1, k: Kind, i: In): Int! b: [Node!] c: Kind d: Found }
interface Node { id: ID! }
type User implements Node { id: ID! }
union Found = User
enum Kind { X Y }
input In { n: Int = 1 }
"""


@pytest.mark.parametrize(
    ("part", "changed", "description"),
    [
        ("d: Found", "", "Field Query.d was removed."),
        ("Int! b", "Int b", "Field Query.a changed type from Int! to Int."),
        ("[Node!]", "[Node]", "Field Query.b changed type from [Node!] to [Node]."),
        ("k: Kind,", "", "Argument Query.a(k:) was removed."),
        ("k: Kind,", "k: Kind!,", "Argument Query.a(k:) has changed type from Kind to Kind!."),
        ("i: In", "i: In, r: Int!", "A required argument Query.a(r:) was added."),
        ("(n: Int = 1", "(n: Int = 2", "Query.a(n:) has changed defaultValue from 1 to 2."),
        ("X Y", "X", "Enum value Kind.Y was removed."),
        ("{ n: Int", "{ m: Int! n: Int", "A required field In.m was added."),
        ("{ n: Int = 1 }", "{ n: Int = 2 }", "In.n has changed its default value."),
        (" implements Node", "", "User no longer implements interface Node."),
    ],
)
def test_a_change_that_breaks_documents_or_answers_is_breaking(
    part: str, changed: str, description: str
) -> None:
    assert part in BEFORE
    found = breaking_changes(BEFORE, BEFORE.replace(part, changed, 1))
    assert [change.lower() for change in found] == [description.lower()]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("d: Found", "d: Found e: Int"),
        ("k: Kind,", "k: Kind, l: Int,"),
        ("b: [Node!]", "b: [Node!]!"),
        ("X Y", "X Y Z"),
        ("{ n: Int", "{ m: Int n: Int"),
        ("union Found = User", "type Bot implements Node { id: ID! } union Found = User | Bot"),
        ("b: [Node!]", 'b: [Node!] @deprecated(reason: "Use `d`.")'),
    ],
)
def test_a_promised_addition_is_not_breaking(part: str, changed: str) -> None:
    assert part in BEFORE
    assert breaking_changes(BEFORE, BEFORE.replace(part, changed, 1)) == []


def test_every_deprecation_names_a_replacement_and_the_version_that_removes_it() -> None:
    reasons = {
        where: member.deprecation_reason
        for where, _, member in members_of((ROOT / "schema.graphql").read_text())
        if member.deprecation_reason is not None
    }
    assert {"Actor.kind", "FieldChange.field"} <= set(reasons)
    for where, reason in reasons.items():
        assert re.search(r"\bUse `\w+`", reason), where
        assert re.search(r"\b1\.0\b", reason), where


def test_every_top_level_error_code_of_the_documentation_is_one_that_the_server_sends() -> None:
    """A code that disappears from the source breaks clients that handle it."""
    table = (ROOT / "docs/clients.md").read_text().split("\n| code | meaning |\n")[1]
    codes = {
        code
        for row in table.split("\n\n")[0].splitlines()
        for code in re.findall(r"`([A-Z_]+)`", row.split("|")[1])
    }
    sources = "".join(
        path.read_text() for package in ("graph", "db") for path in (ROOT / package).rglob("*.py")
    )
    assert {"INVALID_CURSOR", "TOO_EXPENSIVE", "RATE_LIMITED"} <= codes
    assert [code for code in sorted(codes) if f'"{code}"' not in sources] == []
