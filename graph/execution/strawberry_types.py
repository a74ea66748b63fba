"""Strawberry's types for the compiler: how their fields are read and resolved.

The compiler reads a field as an attribute, or calls its method directly, only if Strawberry would
do exactly that. Otherwise it calls Strawberry's own resolver of the field, which applies
permissions, field extensions, `Parent`, exception handlers and custom field classes.

A type over a record declares its fields in `fields_from` (`graph/api/types/record_view.py`).
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
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graph.api.types.record_view import Nested, NestedList
from graph.api.types.record_view import Read as Reading
from graph.compiler import Accessor, FieldResolver
from graph.execution.strawberry_arguments import ArgumentConverter
from graph.strawberry_adapter import (
    CompiledInfo,
    field_declaration,
    strawberry_info,
    type_declaration,
)


class StrawberryResolvers:
    """The resolvers of a Strawberry schema, for the compiler."""

    def __init__(
        self,
        schema: strawberry.Schema,
        serializers: Mapping[str, Callable[[Any], Any]] | None = None,
        *,
        shares: bool = False,
    ) -> None:
        """Use `serializers`, by the names of scalars, instead of the scalars' `serialize`.

        With `shares`, constant arguments are converted once: no resolver may change its arguments.
        """
        config = schema.config
        self._arguments = ArgumentConverter(config, schema.schema_converter.scalar_registry)
        self._serializers = serializers or {}
        self._shares = shares
        self._handles_exceptions = bool(schema.exception_handlers)
        self._has_default_resolver = config.default_resolver is not getattr
        self._info: type[Info[Any, Any]] = (
            CompiledInfo if config.info_class is Info else config.info_class
        )

    def runtime_class(self, type_: GraphQLObjectType) -> type | None:
        declared = type_declaration(type_)
        return None if declared is None or declared.is_type_of else declared.origin

    def accessor(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Accessor | None:  # noqa: ARG002 - Strawberry's field knows its own
        declared = field_declaration(field)
        if declared is None or not declared.is_basic_field or self._is_custom(declared):
            return None
        if self._has_default_resolver:
            return None
        python_name = declared.python_name
        declaration = type_declaration(type_)
        fields = getattr(declaration.origin, "fields_from", {}) if declaration else {}
        reads = cast("Mapping[str, Reading]", fields)
        if python_name not in reads:
            return Accessor(python_name)
        read = reads[python_name]
        records = read.by if isinstance(read, Nested | NestedList) else None
        return Accessor(read, base="record", records=records)

    def serializer(self, type_: GraphQLLeafType) -> Callable[[Any], Any] | None:
        return self._serializers.get(type_.name)

    def resolver(self, field: GraphQLField) -> FieldResolver:
        declared = field_declaration(field)
        if declared is None:
            return FieldResolver(field.resolve or default_field_resolver)
        called = declared.base_resolver
        if called and self._is_plain(declared, called):
            prepare = self._arguments.of(declared.arguments)
            if prepare is not None:
                function = _method(self._info, declared, called)
                return FieldResolver(function, prepare, shares_arguments=self._shares)
        return FieldResolver(_by_strawberry(field.resolve or default_field_resolver))

    def _is_plain(self, field: StrawberryField, resolver: StrawberryResolver[Any]) -> bool:
        """Whether Strawberry only calls the method, with `self` and `info`."""
        info = resolver.info_parameter
        return not (
            field.is_subscription
            or field.extensions
            or self._is_custom(field)
            or resolver.self_parameter is None
            or resolver.root_parameter is not None
            or resolver.parent_parameter is not None
            or info is None
            or info.name != "info"
        )

    def _is_custom(self, field: StrawberryField) -> bool:
        """Whether the field needs Strawberry's own resolver."""
        return self._handles_exceptions or type(field).get_result is not StrawberryField.get_result


def _method(
    info_class: type[Info[Any, Any]], field: StrawberryField, resolver: StrawberryResolver[Any]
) -> Callable[..., Any]:
    function = cast("Callable[..., Any]", resolver.wrapped_func)
    adapt = _unchanged if info_class is CompiledInfo else strawberry_info
    if iscoroutinefunction(function):

        async def call_and_wait(source: Any, info: Any, **given: Any) -> Any:
            return await function(
                source, info=info_class(_raw_info=adapt(info), _field=field), **given
            )

        return call_and_wait

    def call(source: Any, info: Any, **given: Any) -> Any:
        return function(source, info=info_class(_raw_info=adapt(info), _field=field), **given)

    return call


def _unchanged(info: Any) -> Any:
    return info


def _by_strawberry(resolve: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(resolve):

        async def resolve_and_wait(source: Any, info: Any, **given: Any) -> Any:
            return await resolve(source, strawberry_info(info), **given)

        return resolve_and_wait

    def call(source: Any, info: Any, **given: Any) -> Any:
        return resolve(source, strawberry_info(info), **given)

    return call
