"""Sizes of documents, as `analysis` finds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from graph.documents.cost import RowCount, Values

# Where counting stops: sums stay small integers, however often fragments double.
MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """Rows that take the variables to know: each costs `fixed`, and what the steps before do."""

    rows: RowCount | int
    fixed: int
    parts: tuple[int, ...]
    values: int


@dataclass(slots=True)
class Cost:
    """A sum of what is known and of steps: rows that are read, and values of the answer."""

    fixed: int = 0
    parts: list[int] = field(default_factory=list)
    values: int = 0

    def add(self, other: "Cost") -> None:
        self.fixed = min(MOST, self.fixed + other.fixed)
        self.values = min(MOST, self.values + other.values)
        self.parts += other.parts


@dataclass(slots=True)
class Uses:
    """The values in the arguments of an operation's fields and directives.

    Lists, objects and what they contain count as well; those of a fragment wherever it is spread.
    A variable counts as one value here: what it contains is known for each request.
    """

    values: int = 0
    variables: dict[str, int] = field(default_factory=dict)
    """How often each variable is used."""
    defaults: dict[str, int] = field(default_factory=dict)
    """How many values the default of a variable has, where that is more than one."""

    def add(self, other: "Uses") -> None:
        self.values = min(MOST, self.values + other.values)
        for name, times in other.variables.items():
            self.variables[name] = min(MOST, self.variables.get(name, 0) + times)

    def count(self, given: Mapping[str, int]) -> int:
        """Count the values of an operation whose variables have so many values."""
        # The variable itself is counted already.
        return self.values + sum(
            times * (given.get(name, self.defaults.get(name, 1)) - 1)
            for name, times in self.variables.items()
        )


@dataclass(slots=True)
class Size:
    """What a selection set has, with its fragments expanded; none exceeds `MOST`."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    root_fields: int = 0
    introspection: bool = False
    introspection_lists: int = 0
    once: Cost = field(default_factory=Cost)
    each: Cost = field(default_factory=Cost)
    """What comes with each row of the field that the selection set is of."""

    def count(self, other: "Size", directives: int = 0) -> None:
        """Add what is counted alike below fields and in fragments."""
        self.fields = min(MOST, self.fields + other.fields)
        self.aliases = min(MOST, self.aliases + other.aliases)
        self.directives = min(MOST, self.directives + other.directives + directives)
        self.introspection |= other.introspection
        self.introspection_lists = max(self.introspection_lists, other.introspection_lists)

    def include(self, other: "Size", directives: int) -> None:
        """Add a fragment, whose fields stand on the same level."""
        self.count(other, directives)
        self.depth = max(self.depth, other.depth)
        self.root_fields = min(MOST, self.root_fields + other.root_fields)
        self.once.add(other.once)
        self.each.add(other.each)


class Amounts(NamedTuple):
    cost: int
    values: int
    """Of the answer, at most."""


@dataclass(frozen=True, slots=True)
class SelectionMetrics:
    """What the limits are about; of a document that has one operation at least."""

    operations: Mapping[str | None, Size]
    """By name; where two have the same, which the validation refuses, the last."""
    uses: Mapping[str | None, Uses]
    """Of the same operations."""
    sizes: tuple[Size, ...]
    """Those of all operations and fragments, also of two with the same name."""
    root_fields: int
    """Of the operation that has most."""
    fragments: int
    """How many fragments are defined."""
    longest_list: int
    values: int
    """How many arguments have, with those within lists and objects."""
    steps: tuple[Step, ...]
    visits: int
    """How many selections were looked at: each that the text has, once."""

    @property
    def introspects(self) -> bool:
        return any(size.introspection for size in self.sizes)

    @property
    def varies(self) -> bool:
        """Whether it takes the variables to know what an operation costs."""
        return any(not isinstance(step.rows, int) and step.rows.varies for step in self.steps)

    def amounts(self, operation: str | None, variables: Values) -> Amounts:
        """Count for an operation; what a variable has by default is among `variables`."""
        costs: list[int] = []
        values: list[int] = []
        for step in self.steps:
            number = step.rows if isinstance(step.rows, int) else step.rows.count(variables)
            costs.append(min(MOST, number * (step.fixed + sum(costs[i] for i in step.parts))))
            values.append(min(MOST, number * (step.values + sum(values[i] for i in step.parts))))
        total = self.operations[operation].once
        return Amounts(
            cost=min(MOST, total.fixed + sum(costs[i] for i in total.parts)),
            values=min(MOST, total.values + sum(values[i] for i in total.parts)),
        )
