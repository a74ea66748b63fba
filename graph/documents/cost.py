"""What fields cost: the rows they ask for.

| field | costs |
|---|---|
| a connection (takes `first`) | the rows asked for, each with what is below `edges` and `nodes` |
| `nodes(ids:)` | the ids, each with what is below |
| `bulkUsers` | the operations, each with what is below `results` |
| another root field | 1 |
| an object that can be null | 1: by the schema's rule, it takes a second query |
| a count or anything else of a connection that can be null | 1, for the same reason |
| anything else | 0: it comes with its row |

What is not asked for by a number costs the default page. A number out of range costs as much as the
nearest that is allowed, since the resolver refuses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from graph.api.pagination import DEFAULT_PAGE, MAX_PAGE

MAX_IDS: Final = 100
MAX_OPERATIONS: Final = 500
# As many as an event can have changes, and about as many as a type has fields.
_ITEMS: Final = 8
JSON_VALUES: Final = 10_000  # of a document, which nobody can tell beforehand

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowCount:
    """The arguments that say how many rows there can be."""

    values: tuple[ValueNode, ...]
    default: int
    most: int
    member: str | None = None
    whole: bool = False
    """Whether all that is below comes with each row, and not the list alone."""

    @property
    def varies(self) -> bool:
        """Whether it takes the variables to know."""
        return any(isinstance(_member(value, self.member), VariableNode) for value in self.values)

    def count(self, variables: Values) -> int:
        """Give the number; `variables` have Python's values, or the nodes of their defaults."""
        counts = [self._count(value, variables) for value in self.values]
        return max((count for count in counts if count is not None), default=self.default)

    def _count(self, value: Any, variables: Values) -> int | None:
        value = _known(_member(_known(value, variables), self.member), variables)
        match value:
            case None | NullValueNode():
                return None
            case IntValueNode():
                return self._bounded(_integer(value.value))
            case ListValueNode():
                return self._bounded(len(value.values))
            case list() | tuple():
                return self._bounded(len(value))
            case bool():
                return self.default
            case int():
                return self._bounded(value)
            case float() if value.is_integer():
                return self._bounded(int(value))
        # A single value stands for a list of one; where a number is due, it will be refused.
        return 1 if self.default == 0 else self.default

    def _bounded(self, count: int) -> int:
        return max(0, min(count, self.most))


def requested_rows(field: GraphQLField | None, node: FieldNode) -> RowCount | None:
    """Give how many rows a field asks for; None for one that is no list of rows."""
    if field is None:
        return None
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    if "first" in field.args:
        asked = tuple(given[name] for name in ("first", "last") if name in given)
        return RowCount(asked, DEFAULT_PAGE, MAX_PAGE)
    if "ids" in field.args:
        return RowCount(_of(given, "ids"), 0, MAX_IDS, whole=True)
    taken = field.args.get("input")
    if taken and "operations" in getattr(get_named_type(taken.type), "fields", ()):
        return RowCount(_of(given, "input"), 0, MAX_OPERATIONS, "operations")
    return None


def is_per_row(parent: GraphQLNamedType | None, name: str) -> bool:
    """Tell whether a field comes with each row of the field above it."""
    if parent is None:
        return False
    if parent.name.endswith("Connection"):
        return name in {"edges", "nodes"}
    return parent.name == "BulkUsersPayload" and name == "results"


def field_cost(parent: GraphQLNamedType | None, field: GraphQLField | None) -> int:
    """Give what a field below the root costs that asks for no rows."""
    if parent is None or field is None or is_non_null_type(field.type):
        return 0
    if parent.name.startswith("__"):
        return 0
    return int(parent.name.endswith("Connection") or not is_leaf_type(get_named_type(field.type)))


def items(
    schema: GraphQLSchema, parent: GraphQLNamedType | None, name: str, field: GraphQLField | None
) -> int:
    """Return how many items a list has, about; 1 if the rows above say it, or it is no list."""
    if field is None or is_per_row(parent, name):
        return 1
    if get_named_type(field.type).name == "JSON":
        return JSON_VALUES
    if not is_list_type(get_nullable_type(field.type)):
        return 1
    if parent is not None and parent.name == "__Schema":
        return len(schema.type_map)
    return _ITEMS


def _of(given: Mapping[str, ValueNode], name: str) -> tuple[ValueNode, ...]:
    return (given[name],) if name in given else ()


def _known(value: Any, variables: Values) -> Any:
    return variables.get(value.name.value) if isinstance(value, VariableNode) else value


def _member(value: Any, name: str | None) -> Any:
    """Give a member of an input object, be it literal or a variable's; without a name, itself."""
    match value:
        case _ if name is None:
            return value
        case ObjectValueNode():
            return next((f.value for f in value.fields if f.name.value == name), None)
        case dict():
            return value.get(name)
        case VariableNode():
            return value
    return None


def _integer(digits: str) -> int:
    """Read an integer; of one with many digits, which Python reads slowly, only the sign."""
    return int(digits[:10])
