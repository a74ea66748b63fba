"""The merge check accepts only documents that graphql-core's rule also accepts."""

import pytest
from graphql import (
    GraphQLField,
    OverlappingFieldsCanBeMergedRule,
    TypeInfo,
    ValidationContext,
    build_schema,
    get_named_type,
    is_composite_type,
    parse,
    validate,
)
from graphql.validation.validate import ValidationAbortedError
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.documents.field_merging import BoundedMergingRule, merges
from tests.support.examples import examples

SCHEMA = build_schema(
    """
    type Query { cat: Cat dog: Dog pet: Pet any: Any named: Named list: [Pet] cats: [Cat!]! }
    interface Named { name(as: Form): String size: Int friend: Named }
    union Any = Cat | Dog
    interface Pet implements Named {
      name(as: Form): String size: Int friend: Named mate: Pet mates: [Pet] }
    type Cat implements Named & Pet {
      name(as: Form): String size: Int friend: Named mate: Pet mates: [Pet] lives: Int!
      tags: [String] colour: Form other: Cat same: [Cat] }
    type Dog implements Named & Pet {
      name(as: Form): String size: Int friend: Named mate: Pet mates: [Pet] lives: String!
      tags: [String!] colour: String other: Dog same: [Dog!] }
    enum Form { SHORT LONG }
    """
)


def conflicts(query: str) -> bool:
    return bool(validate(SCHEMA, parse(query), [OverlappingFieldsCanBeMergedRule]))


MERGING = [
    "{ cat { name } }",
    "{ cat { name name } cat { size name } }",
    "{ cat { name(as: SHORT) name(as: SHORT) } }",
    "query ($as: Form) { cat { name(as: $as) name(as: $as) } }",
    "{ cat { a: name } dog { a: size } }",
    "{ pet { ... on Cat { a: lives } ... on Dog { b: lives } } }",
    "{ pet { ... on Cat { a: name } ... on Dog { a: name(as: LONG) } } }",
    "{ pet { ... on Cat { a: name(as: SHORT) } ... on Dog { a: name(as: LONG) } } }",
    "{ pet { ...F ...F ...G } } fragment F on Pet { size ...G } fragment G on Pet { size name }",
    "{ any { __typename ... on Cat { __typename } } }",
    "{ pet { mate { ... { name } } mate { ... @skip(if: true) { size name } } } }",
]
CONFLICTING = [
    "{ cat { a: name a: size } }",
    "{ cat { name name(as: SHORT) } }",
    "{ cat { name(as: SHORT) name(as: LONG) } }",
    "query ($a: Form, $b: Form) { cat { name(as: $a) name(as: $b) } }",
    "{ cat { a: name } cat { a: size } }",
    "{ a: cat { name } a: dog { name } }",
    "{ pet { ... on Cat { lives } ... on Dog { lives } } }",
    "{ pet { ... on Cat { tags } ... on Dog { tags } } }",
    "{ pet { ... on Cat { colour } ... on Dog { colour } } }",
    "{ pet { ... on Cat { a: other { a: lives } } ... on Dog { a: other { a: lives } } } }",
    "{ pet { ... on Cat { same { name } } ... on Dog { same { name } } } }",
    "{ pet { a: mate { name } ... on Cat { a: mates { name } } } }",
    "{ pet { a: name ... on Cat { a: friend { name } } } }",
    "{ pet { a: name ... on Named { a: name(as: LONG) } } }",
    "{ pet { ...F a: size } } fragment F on Cat { a: name }",
    "{pet{...F ...G}} fragment F on Pet { mate {size} } fragment G on Pet { mate { size: name } }",
    "{ cat { name } } query B { cat { a: name a: size } }",
]
# Stricter than the specification, or invalid: left to graphql-core.
UNDECIDED = [
    "{ any { ... on Cat { o: other { a: name } } ... on Dog { o: mate { a: name(as: LONG) } } } }",
    "{ cat { nothing } }",
    "{ cat { ...Missing } }",
    "{ cat { ... on Nothing { name } } }",
    "{ cat { ...F } } fragment F on Nothing { name }",
    "{ cat { ...F } } fragment F on Cat { other { ...F } }",
    "mutation { cat { name } }",
]


@pytest.mark.parametrize("query", MERGING)
def test_merge_check_accepts_mergeable_fields(query: str) -> None:
    assert merges(SCHEMA, parse(query))
    assert not conflicts(query)


@pytest.mark.parametrize("query", CONFLICTING)
def test_merge_check_rejects_conflicting_fields(query: str) -> None:
    assert conflicts(query)
    assert not merges(SCHEMA, parse(query))


@pytest.mark.parametrize("query", UNDECIDED)
def test_merge_check_falls_back_when_undecided(query: str) -> None:
    assert not merges(SCHEMA, parse(query))


def composite(field: GraphQLField | None) -> str | None:
    """The composite type of a field; None for a leaf."""
    type_ = field and get_named_type(field.type)
    return type_.name if type_ and is_composite_type(type_) else None


@st.composite
def selections(draw: st.DrawFn, type_: str, depth: int) -> str:
    """Selections that are valid except for overlaps, with few names and aliases."""
    found = []
    fields = getattr(SCHEMA.get_type(type_), "fields", {})
    for _ in range(draw(st.integers(1, 3))):
        kinds = [*fields, "__typename"]
        if depth and type_ != "Query":
            kinds += ["... on Cat", "... on Dog", "... on Pet", "... on Named", "...", "...F"]
        kind = draw(st.sampled_from(kinds))
        if kind == "...F":
            found.append(kind)
        elif kind.startswith("..."):
            found.append(f"{kind} {{ {draw(selections(kind[7:] or type_, depth - 1))} }}")
        elif not (below := composite(fields.get(kind))) or depth:
            alias = draw(st.sampled_from(["", "", "a: ", "b: "]))
            taken = draw(st.sampled_from(["", "", "(as: SHORT)", "(as: LONG)"]))
            text = f"{alias}{kind}{taken if kind == 'name' else ''}"
            if below:
                text += f" {{ {draw(selections(below, depth - 1))} }}"
            found.append(text)
    return " ".join(found) or "__typename"


@settings(max_examples=examples(400))
@given(selections("Query", 4), selections("Pet", 2))
def test_generated_documents_accepted_by_the_merge_check_have_no_conflicts(
    query: str, fragment: str
) -> None:
    inner = fragment.replace("...F", "__typename")
    text = f"{{ pet {{ ...F }} {query} }} fragment F on Pet {{ {inner} }}"
    if merges(SCHEMA, parse(text)):
        assert not conflicts(text)


def _context() -> ValidationContext:
    document = parse("{ cat { name } }")
    return ValidationContext(SCHEMA, document, TypeInfo(SCHEMA), lambda _: None)


def test_merging_rule_has_a_smaller_comparison_budget() -> None:
    """If graphql-core renames the attribute, the bound is lost."""
    fields = " ".join(f"name(as: {form})" for form in ("SHORT", "LONG") * 60)
    errors = validate(SCHEMA, parse(f"{{ cat {{ {fields} }} }}"), [BoundedMergingRule])
    assert any(isinstance(error, ValidationAbortedError) for error in errors)
    rule = BoundedMergingRule(_context())
    plain = OverlappingFieldsCanBeMergedRule(rule.context)
    assert (
        0
        < rule.rule_context.remaining_complexity_budget
        < plain.rule_context.remaining_complexity_budget
    )
