"""Conversion of arguments to Strawberry's Python values, with the result of `convert_argument`.

`convert_argument` inspects the type of every value of every request. The closures here inspect
each type once. Fields with global ids of Relay or with input types that build themselves
(`from_input`) are left to Strawberry.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any, cast

from strawberry import Some
from strawberry.relay import GlobalID
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
    StrawberryType,
    has_object_definition,
)
from strawberry.types.lazy_type import LazyType

Convert = Callable[[Any], Any]


class _UnsupportedTypeError(Exception):
    """Strawberry converts values of this type in a special way."""


class ArgumentConverter:
    """Builds functions that convert coerced values, and caches those of input types."""

    def __init__(self, config: StrawberryConfig, scalars: Mapping[Any, Any]) -> None:
        self._config = config
        self._scalars = scalars
        self._inputs: dict[type, Convert] = {}

    def of(self, arguments: list[StrawberryArgument]) -> Convert | None:
        """Return a function that converts a field's arguments, or None if Strawberry must do it."""
        name_of = self._config.name_converter.from_argument
        try:
            named = {name_of(a): (a.python_name, self._of(a.type)) for a in arguments}
        except _UnsupportedTypeError:
            return None

        if all(name == python and how is None for name, (python, how) in named.items()):
            return lambda given: given

        def convert(given: dict[str, Any]) -> dict[str, Any]:
            converted = {}
            for name, value in given.items():
                python_name, convert = named[name]
                converted[python_name] = value if convert is None else convert(value)
            return converted

        return convert

    def _of(self, type_: StrawberryType | type) -> Convert | None:
        # None means that values of this type need no conversion.
        if isinstance(type_, StrawberryMaybe):
            return self._maybe(type_)
        if isinstance(type_, StrawberryOptional):
            return self._of(type_.of_type)
        if isinstance(type_, StrawberryList):
            return _list(self._of(type_.of_type))
        if isinstance(type_, LazyType):
            return self._of(type_.resolve_type())
        if has_object_definition(type_):
            return self._input(cast("type", type_))
        if type_ is GlobalID:
            raise _UnsupportedTypeError
        return None  # a scalar or an enum, which graphql-core has converted

    def _maybe(self, type_: StrawberryMaybe) -> Convert:
        convert = self._of(type_.of_type)
        if not isinstance(type_.of_type, StrawberryOptional):
            refusing = partial(convert_argument, None, type_, self._scalars, self._config)
            return lambda value: refusing() if value is None else Some(_by(convert, value))
        return lambda value: Some(_by(convert, value))

    def _input(self, type_: type) -> Convert:
        found = self._inputs.get(type_)
        if found is None:

            def met_again(value: Any) -> Any:
                # A recursive input type: its converter is complete when this is called.
                return self._inputs[type_](value)

            self._inputs[type_] = met_again
            try:
                found = self._inputs[type_] = self._made(type_)
            except _UnsupportedTypeError:
                del self._inputs[type_]
                raise
        return found

    def _made(self, type_: type) -> Convert:
        definition: StrawberryObjectDefinition = type_.__strawberry_definition__  # type: ignore[attr-defined]
        if definition.from_input is not None:
            raise _UnsupportedTypeError
        name_of = self._config.name_converter.from_field
        fields = [
            (
                name_of(field),
                field.python_name,
                self._of(field.resolve_type(type_definition=definition)),
            )
            for field in definition.fields
        ]
        left_out = {
            field.python_name: None
            for field in definition.fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }

        def convert(value: dict[str, Any] | None) -> Any:
            if value is None:
                return None
            given: dict[str, Any] = {**left_out}
            for name, python_name, convert_field in fields:
                if name in value:
                    given[python_name] = _by(convert_field, value[name])
            return type_(**given)

        return convert


def _by(convert: Convert | None, value: Any) -> Any:
    return value if convert is None else convert(value)


def _list(convert: Convert | None) -> Convert:
    # Lists are always copied: graphql-core passes the same default list to all requests.
    if convert is None:
        return lambda value: None if value is None else list(value)
    return lambda value: None if value is None else [convert(item) for item in value]
