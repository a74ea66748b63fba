"""Sizes of documents with their fragments expanded, computed without expanding them.

Each selection is visited once: a fragment is measured once, and its size is added wherever it is
spread. The analysis is iterative and accepts invalid documents. Unknown fields and fragments that
spread themselves count as nothing, since validation rejects them.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
)

from graph.documents.cost import RowCount, field_cost, is_per_row, items, requested_rows
from graph.documents.metrics import MOST, Cost, SelectionMetrics, Size, Step, Uses

_INTROSPECTION: Final = frozenset({"__schema", "__type"})
# The lists of `__Schema` and `__Type` that contain types or lead to them.
_TYPE_LISTS: Final = frozenset({"types", "fields", "inputFields", "interfaces", "possibleTypes"})


@dataclass(slots=True)
class _Place:
    """A selection or definition, with the parent type of its selection set."""

    node: SelectionNode | OperationDefinitionNode | FragmentDefinitionNode
    type: GraphQLNamedType | None
    above: "_Place | None" = None
    definition: GraphQLField | None = None
    size: Size = field(default_factory=Size)
    uses: Uses | None = None
    """The uses in a whole definition; None for a selection."""


def analyze(schema: GraphQLSchema, document: DocumentNode) -> SelectionMetrics:
    """Measures every operation and fragment, in time linear in the length of the document."""
    return _Pass(schema, document).metrics()


class _Pass:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._operations: list[list[_Place]] = []
        self._fragments: dict[str, list[_Place]] = {}
        self._repeated: list[list[_Place]] = []
        self._sizes: dict[str, Size] = {}
        self._uses: dict[str, Uses] = {}
        self._steps: list[Step] = []
        self._current = Uses()
        self._longest = 0
        self._values = 0
        self._visits = 0
        for node in document.definitions:
            match node:
                case OperationDefinitionNode():
                    root = schema.get_root_type(node.operation)
                    self._operations.append(self._places(_Place(node, root)))
                case FragmentDefinitionNode():
                    type_ = schema.get_type(node.type_condition.name.value)
                    places = self._places(_Place(node, type_))
                    if self._fragments.setdefault(node.name.value, places) is not places:
                        self._repeated.append(places)

    def metrics(self) -> SelectionMetrics:
        for name in _inmost_first(self._fragments):
            size = self._sizes[name] = self._close(self._fragments[name])
            self._uses[name] = self._used(self._fragments[name])
            # One step per fragment: otherwise each spread would copy all of its steps.
            size.once, size.each = self._folded(size.once), self._folded(size.each)
        roots = [self._close(places) for places in self._operations]
        repeated = [self._close(places) for places in self._repeated]
        names = list(map(_name, self._operations))
        return SelectionMetrics(
            operations=dict(zip(names, roots, strict=True)),
            uses=dict(zip(names, map(self._used, self._operations), strict=True)),
            sizes=(*roots, *self._sizes.values(), *repeated),
            root_fields=max((size.root_fields for size in roots), default=0),
            fragments=len(self._sizes) + len(repeated),
            longest_list=self._longest,
            values=self._values,
            steps=tuple(self._steps),
            visits=self._visits,
        )

    def _places(self, root: _Place) -> list[_Place]:
        """Return a definition and its selections. Each comes after its parent."""
        uses = root.uses = self._current = Uses()
        if isinstance(root.node, OperationDefinitionNode):
            for variable in root.node.variable_definitions or ():
                number = self._look_at(variable.default_value, variable.directives)
                if number > 1:
                    uses.defaults[variable.variable.name.value] = number
            uses.values = 0  # a default counts when its variable is used
        self._look_at(None, root.node.directives)
        places = [root]
        for place in places:
            selections = getattr(place.node, "selection_set", None)
            if selections:
                places += [self._place(node, place) for node in selections.selections]
        self._visits += len(places) - 1
        return places

    def _place(self, node: SelectionNode, above: _Place) -> _Place:
        self._look_at(None, node.directives)
        match node:
            case FieldNode():
                for argument in node.arguments or ():
                    self._look_at(argument.value, None)
                found = self._definition(above.type, node.name.value)
                type_ = get_named_type(found.type) if found else None
                return _Place(node, type_, above, found)
            case InlineFragmentNode() if node.type_condition:
                return _Place(node, self._schema.get_type(node.type_condition.name.value), above)
        return _Place(node, above.type, above)

    def _definition(self, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
        if parent is None or not is_composite_type(parent):
            return None
        return self._schema.get_field(parent, name)

    def _look_at(self, value: ValueNode | None, directives: Iterable[DirectiveNode] | None) -> int:
        """Record the longest list, the number of values and the uses of variables."""
        values: list[Any] = [] if value is None else [value]
        values += [a.value for directive in directives or () for a in directive.arguments or ()]
        for node in values:
            match node:
                case ListValueNode():
                    self._longest = max(self._longest, len(node.values))
                    values += node.values
                case ObjectValueNode():
                    values += [member.value for member in node.fields]
                case VariableNode():
                    used = self._current.variables
                    used[node.name.value] = used.get(node.name.value, 0) + 1
        self._values += len(values)
        self._current.values += len(values)
        return len(values)

    def _used(self, definition: list[_Place]) -> Uses:
        # The uses of fragments are known already: fragments are visited innermost first.
        uses = definition[0].uses
        assert uses
        for name in _spreads(self._uses, definition):
            uses.add(self._uses[name])
        return uses

    def _close(self, places: list[_Place]) -> Size:
        """Add up the sizes from the innermost selections outwards."""
        for place in reversed(places):
            directives = len(place.node.directives or ())
            if place.above is None:
                self._close_definition(place)
                continue
            match place.node:
                case FieldNode():
                    self._add_field(place, place.above, place.node)
                case FragmentSpreadNode():
                    size = self._sizes.get(place.node.name.value, Size())
                    place.above.size.include(size, directives)
                case _:
                    place.above.size.include(place.size, directives)
        return places[0].size

    def _close_definition(self, place: _Place) -> None:
        size, node = place.size, place.node
        size.directives += len(node.directives or ())
        if isinstance(node, OperationDefinitionNode):
            variables = node.variable_definitions or ()
            size.directives += sum(len(variable.directives or ()) for variable in variables)
            size.once.add(self._times(1, size.each))
        elif place.type and _is_meta(place.type):
            size.depth = 0

    def _add_field(self, place: _Place, above: _Place, node: FieldNode) -> None:
        total, size, name = above.size, place.size, node.name.value
        introspects = name in _INTROSPECTION
        total.count(size, len(node.directives or ()))
        total.fields = min(MOST, total.fields + 1)
        total.root_fields = min(MOST, total.root_fields + 1)
        total.aliases = min(MOST, total.aliases + (node.alias is not None))
        total.depth = max(total.depth, 1 + (0 if introspects else size.depth))
        total.introspection |= introspects
        if above.type and _is_meta(above.type) and name in _TYPE_LISTS:
            lists = 1 + size.introspection_lists
            total.introspection_lists = max(total.introspection_lists, lists)
        cost = self._cost(place, above, node)
        (total.each if is_per_row(place.definition) else total.once).add(cost)

    def _cost(self, place: _Place, above: _Place, node: FieldNode) -> Cost:
        asked, once, each = requested_rows(place.definition, node), place.size.once, place.size.each
        if asked is None:
            root = above.type in self._roots() and not node.name.value.startswith("__")
            once.fixed += 1 if root else field_cost(place.definition)
            once.add(self._times(1, each))
            some = items(self._schema, above.type, place.definition)
            once.values = min(MOST, some * once.values)
            once.values += 1
            return once
        each.fixed += 1
        if asked.arguments.whole:
            each.add(once)
            once = Cost()
        number = asked if asked.varies else asked.count({})
        once.add(self._times(number, each))
        once.values += 1
        return once

    def _roots(self) -> tuple[GraphQLNamedType | None, ...]:
        return self._schema.query_type, self._schema.mutation_type, self._schema.subscription_type

    def _times(self, number: RowCount | int, cost: Cost) -> Cost:
        if isinstance(number, int):
            if number == 1:
                return cost
            if not cost.parts:
                return Cost(min(MOST, number * cost.fixed), [], min(MOST, number * cost.values))
        self._steps.append(Step(number, cost.fixed, tuple(cost.parts), cost.values))
        return Cost(0, [len(self._steps) - 1])

    def _folded(self, cost: Cost) -> Cost:
        if len(cost.parts) <= 1:
            return cost
        self._steps.append(Step(1, cost.fixed, tuple(cost.parts), cost.values))
        return Cost(0, [len(self._steps) - 1])


def _name(operation: list[_Place]) -> str | None:
    node = operation[0].node
    return node.name.value if isinstance(node, OperationDefinitionNode) and node.name else None


def _is_meta(type_: GraphQLNamedType) -> bool:
    # The types of introspection (GraphQL spec, 4.2).
    return type_.name.startswith("__")


def _inmost_first(fragments: Mapping[str, list[_Place]]) -> Iterator[str]:
    """Yield each fragment after the fragments it spreads. Cycles are broken at some fragment."""
    begun: set[str] = set()
    for outmost in fragments:
        path = [(outmost, _spreads(fragments, fragments[outmost]))] if outmost not in begun else []
        begun.add(outmost)
        while path:
            name, spreads = path[-1]
            inner = next((spread for spread in spreads if spread not in begun), None)
            if inner is None:
                path.pop()
                yield name
            else:
                begun.add(inner)
                path.append((inner, _spreads(fragments, fragments[inner])))


def _spreads(known: Container[str], definition: Iterable[_Place]) -> Iterator[str]:
    """Yield the name of each known fragment that a definition spreads, once per spread."""
    for place in definition:
        match place.node:
            case FragmentSpreadNode() if place.node.name.value in known:
                yield place.node.name.value
