"""Input values coerced by closures, made once for each type (GraphQL spec, 3.13).

They take the values that fit, and leave all others to graphql-core, which says what is wrong.
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
from graphql.utilities.coerce_input_value import coerce_default_value

Coerce = Callable[[Any], Any]

_REQUIRED: Final = object()
_CLASSES: Final = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}


class Unfit(Exception):
    """A value is none that is plainly of its type."""


class Coercion:
    """Makes closures for one schema, and keeps those of input objects for all operations."""

    def __init__(self) -> None:
        self._objects: dict[str, Coerce] = {}

    def of(self, type_: GraphQLInputType) -> Coerce:
        """Give what coerces values of a type, null among them; it raises Unfit."""
        if is_non_null_type(type_):
            return self._of_nullable(type_.of_type)
        coerce = self._of_nullable(type_)
        return lambda value: None if value is None else coerce(value)

    def _of_nullable(self, type_: GraphQLInputType) -> Coerce:
        """Give what coerces all but null, for which it raises."""
        if is_list_type(type_):
            return _list(self.of(type_.of_type))
        if is_input_object_type(type_):
            return self._object(type_)
        assert is_leaf_type(type_)
        return _leaf(type_)

    def _object(self, type_: GraphQLInputObjectType) -> Coerce:
        found = self._objects.get(type_.name)
        if found is None:

            def met_again(value: Any) -> Any:
                """Coerce the object within its own fields, which are made before it is."""
                return self._objects[type_.name](value)

            self._objects[type_.name] = met_again
            found = self._objects[type_.name] = self._made(type_)
        return found

    def _made(self, type_: GraphQLInputObjectType) -> Coerce:
        fields = [
            (name, field.out_name or name, self.of(field.type), _otherwise(field))
            for name, field in type_.fields.items()
        ]
        out = None if type_.out_type is GraphQLInputObjectType.out_type else type_.out_type
        is_one_of = type_.is_one_of

        def coerce(value: Any) -> Any:
            if value.__class__ is not dict:
                raise Unfit
            coerced, left = {}, len(value)
            for name, out_name, coerce_field, otherwise in fields:
                given = value.get(name, Undefined)
                if given is not Undefined:
                    coerced[out_name] = coerce_field(given)
                    left -= 1
                elif otherwise is _REQUIRED:
                    raise Unfit
                elif otherwise is not Undefined:
                    coerced[out_name] = otherwise
            if left or (is_one_of and not _is_one(coerced)):
                raise Unfit
            return coerced if out is None else out(coerced)

        return coerce


def _is_one(coerced: dict[str, Any]) -> bool:
    return [value is None for value in coerced.values()] == [False]


def _list(coerce: Coerce) -> Coerce:
    def coerce_all(value: Any) -> Any:
        if value.__class__ is not list:
            raise Unfit
        return [coerce(item) for item in value]

    return coerce_all


def _leaf(type_: GraphQLLeafType) -> Coerce:
    if type_.name in _CLASSES and type_ in (GraphQLString, GraphQLID, GraphQLBoolean):
        class_ = _CLASSES[type_.name]

        def as_it_is(value: Any) -> Any:
            if value.__class__ is not class_:
                raise Unfit
            return value

        return as_it_is
    if type_ is GraphQLInt:

        def integer(value: Any) -> Any:
            if value.__class__ is not int or not -(2**31) <= value < 2**31:
                raise Unfit
            return value

        return integer

    def coerce(value: Any) -> Any:
        if value is None:
            raise Unfit
        coerced = type_.coerce_input_value(value)
        if coerced is Undefined:
            raise Unfit
        return coerced

    return coerce


def _otherwise(field: GraphQLInputField) -> Any:
    """Give what stands for a field that is not given."""
    return _REQUIRED if is_required_input_field(field) else coerce_default_value(field)
