"""Costs of fields: the rows they request, as declared in `graph/api/field_costs.py`.

A field without a number of rows costs the default page.
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
    get_nullable_type,
    is_list_type,
)

from graph.api.field_costs import KEY, FieldCost, RowArguments
from graph.strawberry_adapter import field_declaration

# The maximum of changes per event, and the approximate number of fields per type.
_ITEMS: Final = 8
_UNDECLARED: Final = FieldCost()

Values = Mapping[str, Any]


def declared_cost(field: GraphQLField | None) -> FieldCost | None:
    declaration = field_declaration(field) if field else None
    if declaration is None:
        return None
    found: FieldCost | None = declaration.metadata.get(KEY)
    return found


@dataclass(frozen=True, slots=True)
class RowCount:
    values: tuple[ValueNode, ...]
    arguments: RowArguments

    @property
    def varies(self) -> bool:
        """Whether the number depends on variables."""
        member = self.arguments.member
        return any(isinstance(_member(value, member), VariableNode) for value in self.values)

    def count(self, variables: Values) -> int:
        """Return the number of rows. `variables` maps to Python values or nodes of defaults."""
        counts = [self._count(value, variables) for value in self.values]
        given = (count for count in counts if count is not None)
        return max(given, default=self.arguments.default)

    def _count(self, value: Any, variables: Values) -> int | None:
        default = self.arguments.default
        value = _known(_member(_known(value, variables), self.arguments.member), variables)
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
                return default
            case int():
                return self._bounded(value)
            case float() if value.is_integer():
                return self._bounded(int(value))
        # A list input coerces a single value to a list of one. A number input rejects the value.
        return 1 if default == 0 else default

    def _bounded(self, count: int) -> int:
        return max(0, min(count, self.arguments.most))


def requested_rows(field: GraphQLField | None, node: FieldNode) -> RowCount | None:
    """Return how many rows a field requests, or None if it is not a list of rows."""
    cost = declared_cost(field)
    if cost is None or cost.rows is None:
        return None
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    return RowCount(tuple(given[name] for name in cost.rows.names if name in given), cost.rows)


def is_per_row(field: GraphQLField | None) -> bool:
    """Whether the field counts once for each row of the field above it."""
    return (declared_cost(field) or _UNDECLARED).per_row


def field_cost(field: GraphQLField | None) -> int:
    """Return the cost of a field below the root that requests no rows.

    A field with a resolver may read, so it costs 1 if it does not declare a cost.
    """
    cost = declared_cost(field)
    if cost is not None:
        return cost.reads
    declaration = field_declaration(field) if field else None
    return 0 if declaration is None or declaration.base_resolver is None else 1


def items(
    schema: GraphQLSchema, parent: GraphQLNamedType | None, field: GraphQLField | None
) -> int:
    """Return the approximate length of a list; 1 if `requested_rows` covers it, or for no list."""
    cost = declared_cost(field) or _UNDECLARED
    if field is None or cost.per_row:
        return 1
    if cost.values is not None:
        return cost.values
    if not is_list_type(get_nullable_type(field.type)):
        return 1
    if parent is not None and parent.name == "__Schema":
        return len(schema.type_map)
    return _ITEMS


def _known(value: Any, variables: Values) -> Any:
    return variables.get(value.name.value) if isinstance(value, VariableNode) else value


def _member(value: Any, name: str | None) -> Any:
    """Return a member of an input object, literal or variable; the value itself if no name."""
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
    # Python parses integers with many digits slowly. Ten digits suffice: the value is bounded.
    return int(digits[:10])
