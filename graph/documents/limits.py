"""Limits on the size and cost of documents, and the errors for exceeding them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphql import GraphQLError

if TYPE_CHECKING:  # imports half the schema, which only the server needs
    from graph.documents.metrics import SelectionMetrics


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest accepted value of each metric.

    The largest operation that selects every field has 118 tokens, 51 fields and depth 5.
    """

    characters: int = 20_000
    """Code points of the document."""
    tokens: int = 1_000
    """Lexical tokens of the document. The same limit applies to its comments."""
    depth: int = 12
    """Nesting of fields. Fields below `__schema` and `__type` do not count."""
    introspection_lists: int = 2
    """Nesting of lists in introspection: `types { fields }` is two."""
    fields: int = 300
    """Fields of an operation. Those of a fragment count each time it is spread."""
    aliases: int = 15
    """Aliases of an operation, counted like fields."""
    directives: int = 20
    """Directives of an operation, counted like fields."""
    root_fields: int = 10
    """Fields of an operation's first level."""
    fragments: int = 50
    """Fragments that the document defines."""
    cost: int = 5_000
    """Cost of an operation, by the rows it requests (`graph/api/field_costs.py`)."""
    answer: int = 300_000
    """Values of the response. The largest page of users with all fields and their histories has
    240,000."""
    list_length: int = 500
    """Elements of a list, in the document and in the variables."""
    values: int = 6_000
    """Values, including lists and objects, in the document, the variables and an operation. An
    operation counts a variable's values for each use. The operations of a batch have a separate
    limit. The largest filter has 5,300."""


class LimitExceeded(GraphQLError):
    """A limit is exceeded. `extensions` contain the code and the limit."""

    def __init__(self, code: str, limit: int, message: str) -> None:
        super().__init__(message, extensions={"code": code, "limit": limit})


def exceeded(code: str, limit: int, whole: str, what: str) -> LimitExceeded:
    return LimitExceeded(code, limit, f"{whole} can have at most {limit} {what}.")


def excesses_of(metrics: "SelectionMetrics", limits: Limits) -> Iterator[LimitExceeded]:
    """Yield an error for each exceeded limit, except those that depend on variables.

    Operations that are not selected and unused fragments count too, since validation visits them.
    """
    sizes = metrics.sizes
    for code, limit, number, what in (
        ("TOO_DEEP", limits.depth, max(size.depth for size in sizes), "levels of fields"),
        (
            "TOO_DEEP",
            limits.introspection_lists,
            max(size.introspection_lists for size in sizes),
            "lists of types within each other",
        ),
        ("TOO_MANY_FIELDS", limits.fields, max(size.fields for size in sizes), "fields"),
        ("TOO_MANY_ALIASES", limits.aliases, max(size.aliases for size in sizes), "aliases"),
        (
            "TOO_MANY_DIRECTIVES",
            limits.directives,
            max(size.directives for size in sizes),
            "directives",
        ),
        ("TOO_MANY_ROOT_FIELDS", limits.root_fields, metrics.root_fields, "root fields"),
    ):
        if number > limit:
            yield exceeded(code, limit, "An operation", what)
    if metrics.fragments > limits.fragments:
        yield exceeded("TOO_MANY_FRAGMENTS", limits.fragments, "A document", "fragments")
    if metrics.values > limits.values:
        yield exceeded("TOO_MANY_VALUES", limits.values, "A document", "values")
    if max(uses.values for uses in metrics.uses.values()) > limits.values:
        yield exceeded("TOO_MANY_VALUES", limits.values, "An operation", "values")
    if metrics.longest_list > limits.list_length:
        yield exceeded("LIST_TOO_LONG", limits.list_length, "A list", "elements")
