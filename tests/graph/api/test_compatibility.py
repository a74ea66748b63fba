"""Breaking changes of the schema are announced in the changelog."""

import re
from pathlib import Path

from graphql import build_schema, find_breaking_changes

ROOT = Path(__file__).parents[3]
RELEASED = Path(__file__).with_name("released.graphql")


def announced() -> str:
    """Return what the changelog says under Breaking, of the version that is not released yet."""
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert unreleased.startswith("Unreleased\n")
    found = re.search(r"### Breaking\n(.*?)(?=\n### |\Z)", unreleased, re.DOTALL)
    return found[1] if found else ""


def breaking_changes(before: str, after: str) -> list[str]:
    changes = find_breaking_changes(build_schema(before), build_schema(after))
    return [change.description for change in changes]


def test_the_schema_breaks_nothing_that_the_changelog_does_not_announce() -> None:
    """`tests/graph/api/released.graphql` is the schema of the last release.

    To announce a change, quote its description from this test's failure in the changelog, under
    Unreleased and Breaking. A release copies schema.graphql over released.graphql.
    """
    changes = breaking_changes(RELEASED.read_text(), (ROOT / "schema.graphql").read_text())
    assert [change for change in changes if change not in announced()] == []


def test_a_removed_field_is_a_breaking_change() -> None:
    assert breaking_changes("type Query { a: Int b: Int }", "type Query { a: Int }") == [
        "Field Query.b was removed."
    ]


def test_an_added_field_is_no_breaking_change() -> None:
    assert breaking_changes("type Query { a: Int }", "type Query { a: Int b: Int }") == []
