"""How a field gets its value: read from the source object, or returned by a resolver.

Libraries that build schemas wrap their resolvers. An implementation of `Resolvers` describes what
such a field actually does. The default behaves like graphql-core.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from graphql import GraphQLField, GraphQLLeafType, GraphQLObjectType, default_field_resolver

from graph.compiler.fast_path import FastPathFailed


@dataclass(frozen=True, slots=True)
class Accessor:
    """Reads a value from a source, or from the source's attribute `base`.

    `get` is the name of an attribute, or a function, which may raise FastPathFailed.

    If `get` returns views of records (one, or a list), `records` reads the records. If all
    accessors of such a view have a `base`, generated code reads from the record and does not create
    the view.
    """

    get: str | Callable[[Any], Any]
    base: str | None = None
    records: str | Callable[[Any], Any] | None = None

    def function(self) -> Callable[[Any], Any]:
        if isinstance(self.get, str):
            return attrgetter(self.get if self.base is None else f"{self.base}.{self.get}")
        if self.base is None:
            return self.get
        get, inner = self.get, attrgetter(self.base)
        return lambda source: get(inner(source))


@dataclass(frozen=True, slots=True)
class FieldResolver:
    """A function that is called with the source, `info`, and the arguments by name.

    `prepare` creates the arguments from the coerced values. `shares_arguments` promises that its
    result is never modified: constant arguments are then prepared once.
    """

    call: Callable[..., Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    shares_arguments: bool = False


class Resolvers(Protocol):
    """Describes the fields and types of a schema."""

    def runtime_class(self, type_: GraphQLObjectType) -> type | None:
        """Return the class whose instances all have this type, or None if unknown."""

    def accessor(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Accessor | None:
        """Return how a field is read, or None if it has a resolver."""

    def resolver(self, field: GraphQLField) -> FieldResolver:
        """Return the resolver, used if the field has no accessor or the accessor failed."""

    def serializer(self, type_: GraphQLLeafType) -> Callable[[Any], Any] | None:
        """Return a faster equivalent of `coerce_output_value` for the usual values of a type.

        It may raise for all others, and is never called with null. Its result need not be a JSON
        type, if the caller's JSON encoder writes it as it writes the result of
        `coerce_output_value`.
        """


class DefaultResolvers:
    """Like graphql-core: members of mappings, attributes of all other objects."""

    def runtime_class(self, _: GraphQLObjectType) -> type | None:
        return None

    def accessor(self, _: GraphQLObjectType, name: str, field: GraphQLField) -> Accessor | None:
        return Accessor(_reader(name)) if field.resolve is None else None

    def resolver(self, field: GraphQLField) -> FieldResolver:
        return FieldResolver(field.resolve or default_field_resolver)

    def serializer(self, _: GraphQLLeafType) -> Callable[[Any], Any] | None:
        return None


def _reader(name: str) -> Callable[[Any], Any]:
    def read(source: Any) -> Any:
        value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if callable(value):
            raise FastPathFailed  # the resolver calls it with `info` and the arguments
        return value

    return read
