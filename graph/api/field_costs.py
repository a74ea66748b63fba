"""Costs of fields, declared on the field: `strawberry.field(metadata=ONE_READ, ...)`.

An operation is limited by the total cost of its fields (`graph/documents/cost.py`). A field with a
resolver and without a declaration costs 1. Every such field of Roster's own schema has a
declaration, and so does every nullable object, because nullable objects take a second query;
`tests/graph/documents/test_cost.py` fails otherwise.

| declaration | meaning |
|---|---|
| `ROOT_FIELD` | 1, as for every root field without another declaration |
| `ONE_READ` | 1: a statement of its own, or a lookup |
| `PAGE` | a connection: `first` or `last` rows, each with the `PER_ROW` fields below |
| `ids(...)`, `operations(...)` | a row for each element of the given list |
| `PER_ROW` | counts once for each row of the field above |
| `FREE` | 0: part of its row |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graph.api.pagination import DEFAULT_PAGE, MAX_PAGE

KEY: Final = "roster.cost"


@dataclass(frozen=True, slots=True)
class RowArguments:
    """The arguments that determine the number of rows.

    A number out of range counts as the nearest accepted number. The resolver rejects it.
    """

    names: tuple[str, ...]
    default: int
    most: int
    member: str | None = None
    """The field of an input object that contains the list."""
    whole: bool = False
    """Whether all fields below count for each row, not only those declared `PER_ROW`."""


@dataclass(frozen=True, slots=True)
class FieldCost:
    reads: int = 0
    rows: RowArguments | None = None
    per_row: bool = False
    values: int | None = None
    """The number of values of the field in the response, if its type does not determine it."""


Declaration = Mapping[Any, Any]

FREE: Final[Declaration] = {KEY: FieldCost()}
ONE_READ: Final[Declaration] = {KEY: FieldCost(reads=1)}
ROOT_FIELD: Final = ONE_READ
PER_ROW: Final[Declaration] = {KEY: FieldCost(per_row=True)}
PAGE: Final[Declaration] = {
    KEY: FieldCost(rows=RowArguments(("first", "last"), DEFAULT_PAGE, MAX_PAGE))
}
# A JSON document, whose size is unknown until it is read.
DOCUMENT: Final[Declaration] = {KEY: FieldCost(reads=1, values=10_000)}


def ids(argument: str, most: int) -> Declaration:
    return {KEY: FieldCost(rows=RowArguments((argument,), 0, most, whole=True))}


def operations(argument: str, member: str, most: int) -> Declaration:
    return {KEY: FieldCost(rows=RowArguments((argument,), 0, most, member))}
