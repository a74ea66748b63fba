"""What the compiled execution may know of Strawberry's types: how their fields are read.

A type that is a view of a record says so by `__reads__`: Python's name of a field, and either the
attribute of its `record` that it is, or a function of that record.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from graphql import GraphQLField, GraphQLObjectType
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from graph.compiled.reads import Read

_DEFINITION = "strawberry-definition"

Reads = Mapping[str, str | Callable[[Any], Any]]


class Views:
    """Strawberry's types, and those of them that are views of records."""

    def class_of(self, type_: GraphQLObjectType) -> type | None:
        definition = type_.extensions.get(_DEFINITION)
        return definition.origin if isinstance(definition, StrawberryObjectDefinition) else None

    def read(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Read | None:  # noqa: ARG002 - Strawberry's field knows its own
        declared = field.extensions.get(_DEFINITION)
        if not isinstance(declared, StrawberryField) or not declared.is_basic_field:
            return None
        python_name = declared.python_name
        reads = cast("Reads", getattr(self.class_of(type_), "__reads__", {}))
        if python_name in reads:
            return Read(reads[python_name], of="record")
        return Read(python_name)
