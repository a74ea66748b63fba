"""What fields cost, declared where they are: `strawberry.field(metadata=READS_ROWS, ...)`.

An operation is limited by the sum of what its fields cost (`graph/documents/cost.py`). Every field
with a resolver has a declaration, and so has every object that can be null, which by the schema's
rule takes a second query: the schema is not built if one is missing.

| declaration | meaning |
|---|---|
| `ROOT_FIELD` | 1, as every root field costs that declares nothing else |
| `ONE_READ` | 1: it takes a statement of its own, or a look-up |
| `PAGE` | a connection: as many rows as `first` or `last`, with what is `PER_ROW` below it |
| `ids(...)`, `operations(...)` | a row for each element of a list that is given |
| `PER_ROW` | comes with each row of the field above |
| `FREE` | 0: it comes with its row |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graph.api.pagination import DEFAULT_PAGE, MAX_PAGE

KEY: Final = "roster.cost"


@dataclass(frozen=True, slots=True)
class RowArguments:
    """The arguments that say how many rows there can be.

    A number out of range counts as the nearest that is accepted: the resolver rejects it.
    """

    names: tuple[str, ...]
    default: int
    most: int
    member: str | None = None
    """The field of an input object that has the list."""
    whole: bool = False
    """Whether all that is below comes with each row, and not only what is declared `PER_ROW`."""


@dataclass(frozen=True, slots=True)
class FieldCost:
    reads: int = 0
    rows: RowArguments | None = None
    per_row: bool = False
    values: int | None = None
    """How many values the answer can have of it, if its type does not say."""


Declaration = Mapping[Any, Any]

FREE: Final[Declaration] = {KEY: FieldCost()}
ONE_READ: Final[Declaration] = {KEY: FieldCost(reads=1)}
ROOT_FIELD: Final = ONE_READ
PER_ROW: Final[Declaration] = {KEY: FieldCost(per_row=True)}
PAGE: Final[Declaration] = {
    KEY: FieldCost(rows=RowArguments(("first", "last"), DEFAULT_PAGE, MAX_PAGE))
}
# A JSON document, whose size is not known before it is read.
DOCUMENT: Final[Declaration] = {KEY: FieldCost(reads=1, values=10_000)}


def ids(argument: str, most: int) -> Declaration:
    return {KEY: FieldCost(rows=RowArguments((argument,), 0, most, whole=True))}


def operations(argument: str, member: str, most: int) -> Declaration:
    return {KEY: FieldCost(rows=RowArguments((argument,), 0, most, member))}
