"""What the compiled execution may know of Strawberry's types: how their fields are had.

A type that is a view of a record says so by `fields_from` (`graph/api/types/record_view.py`).
"""

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, cast

import strawberry
from graphql import (
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    default_field_resolver,
)
from strawberry import Info
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graph.api.scalars import WRITERS
from graph.api.types.record_view import Nested, NestedList
from graph.api.types.record_view import Read as Reading
from graph.compiler import Accessor, FieldResolver
from graph.execution.strawberry_arguments import ArgumentConverter

_DEFINITION = "strawberry-definition"


class StrawberryResolvers:
    """The types of a schema, and those of them that are views of records."""

    def __init__(self, schema: strawberry.Schema) -> None:
        self._conversion = ArgumentConverter(schema.config, schema.schema_converter.scalar_registry)

    def runtime_class(self, type_: GraphQLObjectType) -> type | None:
        definition = type_.extensions.get(_DEFINITION)
        return definition.origin if isinstance(definition, StrawberryObjectDefinition) else None

    def accessor(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Accessor | None:  # noqa: ARG002 - Strawberry's field knows its own
        declared = field.extensions.get(_DEFINITION)
        if not isinstance(declared, StrawberryField) or not declared.is_basic_field:
            return None
        python_name = declared.python_name
        reads = cast("Mapping[str, Reading]", getattr(self.runtime_class(type_), "fields_from", {}))
        if python_name not in reads:
            return Accessor(python_name)
        read = reads[python_name]
        records = read.by if isinstance(read, Nested | NestedList) else None
        return Accessor(read, base="record", records=records)

    def serializer(self, type_: GraphQLLeafType) -> Callable[[Any], Any] | None:
        return WRITERS.get(type_.name)

    def resolver(self, field: GraphQLField) -> FieldResolver:
        """Give the method itself, where Strawberry would do nothing more than call it."""
        declared = field.extensions.get(_DEFINITION)
        if (
            not isinstance(declared, StrawberryField)
            or declared.is_subscription
            or declared.extensions
            or not (called := declared.base_resolver)
            or not (called.self_parameter and called.info_parameter)
        ):
            return FieldResolver(field.resolve or default_field_resolver)

        # Inputs are read and never written, so that one of constants does for every request.
        prepare = self._conversion.of(declared.arguments)
        return FieldResolver(_method(declared, called), prepare, shares_arguments=True)


def _method(field: StrawberryField, resolver: StrawberryResolver[Any]) -> Callable[..., Any]:
    function = cast("Callable[..., Any]", resolver.wrapped_func)
    if iscoroutinefunction(function):

        async def call_and_wait(source: Any, info: Any, **given: Any) -> Any:
            return await function(source, info=Info(_raw_info=info, _field=field), **given)

        return call_and_wait

    def call(source: Any, info: Any, **given: Any) -> Any:
        return function(source, info=Info(_raw_info=info, _field=field), **given)

    return call
