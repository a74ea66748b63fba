"""What clients read in GraphiQL: every description says something, in few and plain words."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import build_schema, is_specified_scalar_type
from graphql.type import is_introspection_type

from tests.graph.api.test_schema import PRINTED

# Of the words that HOUSE section 4 rules out.
_RULED_OUT = re.compile(
    r"\b(whoever|nobody|somebody|anew|as most are|less the|told|stands|at once|the careful way)\b"
    r"|^(Give|Tell)s?\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def types_of(text: str) -> Iterator[Any]:
    for type_ in build_schema(text).type_map.values():
        if not is_introspection_type(type_) and not is_specified_scalar_type(type_):
            yield type_


def members_of(text: str) -> Iterator[tuple[str, str, Any]]:
    """Yield where each field, argument, input field and enum value is, its name, and itself."""
    for type_ in types_of(text):
        members: dict[str, Any] = {**getattr(type_, "fields", {}), **getattr(type_, "values", {})}
        for name, member in members.items():
            yield f"{type_.name}.{name}", name, member
            for argument, given in getattr(member, "args", {}).items():
                yield f"{type_.name}.{name}({argument})", argument, given


def described(text: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield where, under which name, and with which description each part of a schema is."""
    for type_ in types_of(text):
        yield type_.name, type_.name, type_.description
    for where, name, member in members_of(text):
        yield where, name, member.description


def problems(text: str) -> Iterator[str]:
    for where, name, description in described(text):
        if not description:
            yield f"{where}: no description"
        elif _words(description) <= _words(name):
            yield f"{where}: only repeats the name"
        elif len(_SENTENCE_END.findall(description)) > 3:
            yield f"{where}: more than three sentences"
        elif found := _RULED_OUT.search(description):
            yield f"{where}: {found[0]}"


def _words(text: str) -> set[str]:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text.replace("_", " "))
    return {part.lower().rstrip("s") for part in parts} - {"a", "an", "the", "of", "this"}


def test_every_description_of_the_schema_is_plain_short_and_no_repetition() -> None:
    assert list(problems(PRINTED.read_text())) == []


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        ("The status.", "only repeats the name"),
        ("One. Two. Three. Four.", "more than three sentences"),
        ("What whoever asks may do.", "whoever"),
        ("Tells the status of users.", "Tells"),
    ],
)
def test_a_description_that_says_nothing_or_much_is_found(description: str, problem: str) -> None:
    schema = f'"What is read." type Query {{ "{description}" status: Int }}'
    assert list(problems(schema)) == [f"Query.status: {problem}"]
