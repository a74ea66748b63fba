"""A check whether fields merge, in time linear in the document's expanded fields.

GraphQL spec, 5.3.2, Field Selection Merging. graphql-core compares fields in pairs, which takes as
long as all other rules together, and longer for repetitive documents. This check compares all
fields of a response name with the first one, since equality is transitive, and then treats their
sub-selections as one, as execution does. It is slightly stricter than the specification. It
therefore never rejects a document: a document that fails this check is left to graphql-core.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    ValidationContext,
    get_named_type,
    is_composite_type,
    is_leaf_type,
    is_object_type,
)

# The budget of graphql-core's rule, in its own units: 16 ms of comparing conflicting fields. Its
# default is 50 times as high. Only documents that fail the check below reach that rule.
_BUDGET: Final = 10_000
# The number of fields after which the check gives up. Fragments that spread themselves never end.
_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Field:
    node: FieldNode
    parent: GraphQLNamedType
    type: GraphQLOutputType


class BoundedMergingRule(OverlappingFieldsCanBeMergedRule):
    # A rule's budget is an undocumented attribute.

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = _BUDGET


_Selected = tuple[GraphQLNamedType, SelectionSetNode]


class _Doubtful(Exception):
    """The fields do not merge, or the check cannot decide."""


def merges(schema: GraphQLSchema, document: DocumentNode) -> bool:
    """Return whether the fields of all operations merge; False if undecided."""
    look = _Look(schema, document)
    try:
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                look.at(node)
    except _Doubtful:
        return False
    return True


class _Look:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._left = _MOST

    def at(self, operation: OperationDefinitionNode) -> None:
        """Raise _Doubtful unless the fields merge."""
        root = self._schema.get_root_type(operation.operation)
        if root is None:
            raise _Doubtful
        levels: list[list[_Selected]] = [[(root, operation.selection_set)]]
        for level in levels:
            for fields in self._by_response_name(level).values():
                _compare(fields)
                below = [
                    (get_named_type(field.type), field.node.selection_set)
                    for field in fields
                    if field.node.selection_set
                ]
                if below:
                    levels.append(below)

    def _by_response_name(self, level: Iterable[_Selected]) -> Mapping[str, list[_Field]]:
        found: dict[str, list[_Field]] = {}
        for field in self._fields(level):
            self._left -= 1
            if self._left < 0:
                raise _Doubtful
            name = field.node.alias or field.node.name
            found.setdefault(name.value, []).append(field)
        return found

    def _fields(self, level: Iterable[_Selected]) -> Iterator[_Field]:
        """Yield the fields of one level and of its fragments, each fragment once."""
        spread: set[str] = set()
        sets = list(level)
        for parent, selections in sets:
            for node in selections.selections:
                match node:
                    case FieldNode():
                        yield self._field(parent, node)
                    case InlineFragmentNode(type_condition=None):
                        sets.append((parent, node.selection_set))
                    case InlineFragmentNode():
                        sets.append((self._type(node), node.selection_set))
                    case FragmentSpreadNode() if node.name.value not in spread:
                        spread.add(node.name.value)
                        fragment = self._fragments.get(node.name.value)
                        if fragment is None:
                            raise _Doubtful
                        sets.append((self._type(fragment), fragment.selection_set))

    def _field(self, parent: GraphQLNamedType, node: FieldNode) -> _Field:
        definition = is_composite_type(parent) and self._schema.get_field(parent, node.name.value)
        if not definition or any(
            directive.name.value == "stream" for directive in node.directives or ()
        ):
            raise _Doubtful
        return _Field(node, parent, definition.type)

    def _type(self, node: InlineFragmentNode | FragmentDefinitionNode) -> GraphQLNamedType:
        type_ = node.type_condition and self._schema.get_type(node.type_condition.name.value)
        if not type_:
            raise _Doubtful
        return type_


def _compare(fields: list[_Field]) -> None:
    """Raise _Doubtful unless fields of one response name are equal wherever they can overlap.

    Fields of different object types cannot overlap, but their values need the same shape.
    """
    first = fields[0]
    everywhere = next((field for field in fields if not is_object_type(field.parent)), None)
    by_parent: dict[str, _Field] = {}
    for field in fields:
        if not _have_one_shape(first.type, field.type):
            raise _Doubtful
        other = everywhere or by_parent.setdefault(field.parent.name, field)
        if other is not field and not _are_the_same(other.node, field.node):
            raise _Doubtful


def _have_one_shape(one: GraphQLOutputType, other: GraphQLOutputType) -> bool:
    if one is other:
        return True
    named, others = get_named_type(one), get_named_type(other)
    if (is_leaf_type(named) or is_leaf_type(others)) and named is not others:
        return False
    # Lists and non-null are the text around the name of a type.
    return _wrapping(one, named) == _wrapping(other, others)


def _wrapping(type_: GraphQLOutputType, named: GraphQLNamedType) -> tuple[int, str]:
    text = str(type_)
    return text.index(named.name), text.partition(named.name)[2]


def _are_the_same(one: FieldNode, other: FieldNode) -> bool:
    if one.name.value != other.name.value:
        return False
    return _arguments(one) == _arguments(other)


def _arguments(node: FieldNode) -> dict[str, str]:
    # The arguments as written in the source.
    written = {}
    for argument in node.arguments or ():
        place = argument.value.loc
        if place is None:
            raise _Doubtful
        written[argument.name.value] = place.source.body[place.start : place.end]
    return written
