"""The metrics of a document that `analysis` computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from graph.documents.cost import RowCount, Values

# Counters saturate here: the sums stay small integers, even if nested fragments double them.
MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """A product that depends on variables: `rows` times the sum of `fixed` and earlier steps."""

    rows: RowCount | int
    fixed: int
    parts: tuple[int, ...]
    values: int


@dataclass(slots=True)
class Cost:
    """A sum of known amounts and steps: `fixed` counts rows, `values` values of the response."""

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

    Lists, objects and their contents count too. Those of a fragment count each time it is spread. A
    variable counts as one value here: the number of its values is known for each request.
    """

    values: int = 0
    variables: dict[str, int] = field(default_factory=dict)
    """The number of uses of each variable."""
    defaults: dict[str, int] = field(default_factory=dict)
    """The number of values of a variable's default, if it is more than one."""

    def add(self, other: "Uses") -> None:
        self.values = min(MOST, self.values + other.values)
        for name, times in other.variables.items():
            self.variables[name] = min(MOST, self.variables.get(name, 0) + times)

    def count(self, given: Mapping[str, int]) -> int:
        """Return the number of values of an operation, from the number in each variable."""
        # `values` counts the variable itself already.
        return self.values + sum(
            times * (given.get(name, self.defaults.get(name, 1)) - 1)
            for name, times in self.variables.items()
        )


@dataclass(slots=True)
class Size:
    """The metrics of a selection set with its fragments expanded. None exceeds `MOST`."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    root_fields: int = 0
    introspection: bool = False
    introspection_lists: int = 0
    once: Cost = field(default_factory=Cost)
    each: Cost = field(default_factory=Cost)
    """The cost per row of the field that has this selection set."""

    def count(self, other: "Size", directives: int = 0) -> None:
        # What nested fields and fragments have in common.
        self.fields = min(MOST, self.fields + other.fields)
        self.aliases = min(MOST, self.aliases + other.aliases)
        self.directives = min(MOST, self.directives + other.directives + directives)
        self.introspection |= other.introspection
        self.introspection_lists = max(self.introspection_lists, other.introspection_lists)

    def include(self, other: "Size", directives: int) -> None:
        # The fields of a fragment are on the same level.
        self.count(other, directives)
        self.depth = max(self.depth, other.depth)
        self.root_fields = min(MOST, self.root_fields + other.root_fields)
        self.once.add(other.once)
        self.each.add(other.each)


class Amounts(NamedTuple):
    cost: int
    values: int
    """The largest possible number of values in the response."""


@dataclass(frozen=True, slots=True)
class SelectionMetrics:
    """The metrics that limits apply to, of a document with at least one operation."""

    operations: Mapping[str | None, Size]
    """By name. Of two with the same name, which validation rejects, the last one."""
    uses: Mapping[str | None, Uses]
    """The uses of the same operations."""
    sizes: tuple[Size, ...]
    """The sizes of all operations and fragments, including those with duplicate names."""
    root_fields: int
    """The largest number of root fields of an operation."""
    fragments: int
    """The number of fragment definitions."""
    longest_list: int
    values: int
    """The number of values in all arguments, including those within lists and objects."""
    steps: tuple[Step, ...]
    visits: int
    """The number of visited selections: each selection in the document counts once."""

    @property
    def introspects(self) -> bool:
        return any(size.introspection for size in self.sizes)

    @property
    def varies(self) -> bool:
        """Whether the cost of an operation depends on variables."""
        return any(not isinstance(step.rows, int) and step.rows.varies for step in self.steps)

    def amounts(self, operation: str | None, variables: Values) -> Amounts:
        """Return the amounts of an operation. `variables` must include the defaults."""
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
