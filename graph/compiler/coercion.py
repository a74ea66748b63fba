"""Coerces input values with closures, created once for each type (GraphQL spec, 3.13).

The closures coerce valid values and raise for all others. graphql-core then reports the errors.
"""

from collections.abc import Callable
from typing import Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
    Undefined,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
)

from graph.compiler.fast_path import FastPathFailed
from graph.compiler.graphql_core_adapter import coerce_default_value

Coerce = Callable[[Any], Any]

_REQUIRED: Final = object()
_CLASSES: Final = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}


class InputCoercion:
    """Creates the closures of one schema. All operations share those of input objects."""

    def __init__(self) -> None:
        self._objects: dict[str, Coerce] = {}

    def coercer(self, type_: GraphQLInputType) -> Coerce:
        """Return the closure of a type. It raises FastPathFailed or what a scalar raises."""
        if is_non_null_type(type_):
            return self._non_null(type_.of_type)
        coerce = self._non_null(type_)
        return lambda value: None if value is None else coerce(value)

    def _non_null(self, type_: GraphQLInputType) -> Coerce:
        if is_list_type(type_):
            return _list(self.coercer(type_.of_type))
        if is_input_object_type(type_):
            return self._object(type_)
        assert is_leaf_type(type_)
        return _leaf(type_)

    def _object(self, type_: GraphQLInputObjectType) -> Coerce:
        found = self._objects.get(type_.name)
        if found is None:

            def coerce_recursively(value: Any) -> Any:
                # A field of the type itself needs a closure before that of the type exists.
                return self._objects[type_.name](value)

            self._objects[type_.name] = coerce_recursively
            found = self._objects[type_.name] = self._new_object(type_)
        return found

    def _new_object(self, type_: GraphQLInputObjectType) -> Coerce:
        fields = [
            (name, field.out_name or name, self.coercer(field.type), _default(field))
            for name, field in type_.fields.items()
        ]
        out = None if type_.out_type is GraphQLInputObjectType.out_type else type_.out_type
        is_one_of = type_.is_one_of

        def coerce(value: Any) -> Any:
            if value.__class__ is not dict:
                raise FastPathFailed
            coerced, unknown = {}, len(value)
            for name, out_name, coerce_field, default in fields:
                given = value.get(name, Undefined)
                if given is not Undefined:
                    coerced[out_name] = coerce_field(given)
                    unknown -= 1
                elif default is _REQUIRED:
                    raise FastPathFailed
                elif default is not Undefined:
                    coerced[out_name] = default
            if unknown or (is_one_of and not _has_one_value(coerced)):
                raise FastPathFailed
            return coerced if out is None else out(coerced)

        return coerce


def _has_one_value(coerced: dict[str, Any]) -> bool:
    return [value is None for value in coerced.values()] == [False]


def _list(coerce: Coerce) -> Coerce:
    def coerce_all(value: Any) -> Any:
        if value.__class__ is not list:
            raise FastPathFailed
        return [coerce(item) for item in value]

    return coerce_all


def _leaf(type_: GraphQLLeafType) -> Coerce:
    if type_.name in _CLASSES and type_ in (GraphQLString, GraphQLID, GraphQLBoolean):
        class_ = _CLASSES[type_.name]

        def check_class(value: Any) -> Any:
            if value.__class__ is not class_:
                raise FastPathFailed
            return value

        return check_class
    if type_ is GraphQLInt:

        def check_int(value: Any) -> Any:
            if value.__class__ is not int or not -(2**31) <= value < 2**31:
                raise FastPathFailed
            return value

        return check_int

    def coerce(value: Any) -> Any:
        if value is None:
            raise FastPathFailed
        coerced = type_.coerce_input_value(value)
        if coerced is Undefined:
            raise FastPathFailed
        return coerced

    return coerce


def _default(field: GraphQLInputField) -> Any:
    return _REQUIRED if is_required_input_field(field) else coerce_default_value(field)
