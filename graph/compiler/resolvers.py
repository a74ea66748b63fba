"""How fields are had from their source: by reading it, or by a resolver.

A library that makes schemas wraps what its fields really do; whoever makes a `Compiler` can say
what that is. By default it is what graphql-core does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from graphql import GraphQLField, GraphQLLeafType, GraphQLObjectType, default_field_resolver


class FastPathFailed(Exception):
    """A value is not what most are; it takes the careful way to say what it is."""


@dataclass(frozen=True, slots=True)
class Accessor:
    """A read of a source, or of what is at the source's attribute `base`.

    It is an attribute, or any function of it. A function may raise FastPathFailed. Where it makes
    objects, one or a list, that are nothing but views of something, `records` reads that, and
    whatever such an object reads has `base`: then nobody needs to make it.
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
    """What is called for a field: with its source, the info, and its arguments by name.

    `prepare` makes them from the coerced values. With `shares_arguments`, nobody changes them:
    constant arguments are then prepared once.
    """

    call: Callable[..., Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    shares_arguments: bool = False


class Resolvers(Protocol):
    """What is known of the objects that resolvers give."""

    def runtime_class(self, type_: GraphQLObjectType) -> type | None:
        """Give the one class whose objects certainly are of a type; None where nobody knows."""

    def accessor(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Accessor | None:
        """Tell how a field is read; None for one that has a resolver."""

    def resolver(self, field: GraphQLField) -> FieldResolver:
        """Give what is called where it is not read, or where what was read is not expected."""

    def serializer(self, type_: GraphQLLeafType) -> Callable[[Any], Any] | None:
        """Give what completes most values of a type in less time than its own way.

        It gives what JSON has the same of, and raises for any other value. Null is not its concern.
        """


class DefaultResolvers:
    """graphql-core's own: members of mappings, attributes of anything else."""

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
        found = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if callable(found):
            raise FastPathFailed  # it takes the arguments and the info to call it
        return found

    return read
