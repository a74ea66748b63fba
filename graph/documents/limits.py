"""How large a document can be, and what is said of one that is larger."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphql import GraphQLError

if TYPE_CHECKING:  # half the schema, which no command but the server needs
    from graph.documents.metrics import SelectionMetrics


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed of each; one more is refused.

    The largest operation that selects all there is has 118 tokens, 51 fields and depth 5.
    """

    characters: int = 20_000
    """Code points of the text."""
    tokens: int = 1_000
    """Lexical tokens of the text; it can have as many comments."""
    depth: int = 12
    """Fields within fields. What is below `__schema` and `__type` has no depth."""
    introspection_lists: int = 2
    """Lists of types, or of what types have, within each other: `types { fields }` is two."""
    fields: int = 300
    """Fields of an operation, those of a fragment as often as it is spread."""
    aliases: int = 15
    """Aliases of an operation, counted like fields."""
    directives: int = 20
    """Directives of an operation, counted like fields."""
    root_fields: int = 10
    """Fields of an operation's first level."""
    fragments: int = 50
    """Fragments that the document defines."""
    cost: int = 5_000
    """What an operation costs by the rows it asks for; `graph.rows` has the prices."""
    answer: int = 300_000
    """Values that the answer can have. The largest page of users with their histories, each with
    all that there is, has 240,000."""
    list_length: int = 500
    """Elements of a list, in the document and in the variables."""
    values: int = 6_000
    """Values, with lists and objects, in the document, in the variables, and in an operation, where
    a variable's values count as often as it is used. The operations of a batch have room of their
    own. The largest filter has 5,300."""


class LimitExceeded(GraphQLError):
    """The document has more of something than it can; `extensions` say of what, and how much."""

    def __init__(self, code: str, limit: int, message: str) -> None:
        super().__init__(message, extensions={"code": code, "limit": limit})


def exceeded(code: str, limit: int, whole: str, what: str) -> LimitExceeded:
    return LimitExceeded(code, limit, f"{whole} can have at most {limit} {what}.")


def excesses_of(metrics: "SelectionMetrics", limits: Limits) -> Iterator[LimitExceeded]:
    """Give an error for each limit that the document exceeds, except those that take variables.

    Operations that are not asked for count too, and fragments that nothing spreads: the validation
    looks at them all.
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
