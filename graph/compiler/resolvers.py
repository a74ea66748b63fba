"""How fields are had from their source: by reading it, or by a resolver.

A library that makes schemas wraps what its fields really do; whoever makes a `Compiler` can say
what that is. By default it is what graphql-core does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from graphql import GraphQLField, GraphQLLeafType, GraphQLObjectType, default_field_resolver


class Unexpected(Exception):
    """A value is not what most are; it takes the careful way to say what it is."""


@dataclass(frozen=True, slots=True)
class Read:
    """A read of a source, or of what is at the source's attribute `of`.

    It is an attribute, or any function of it. A function may raise Unexpected. Where it makes
    objects, one or a list, that are nothing but views of something, `records` reads that, and
    whatever such an object reads has `of`: then nobody needs to make it.
    """

    by: str | Callable[[Any], Any]
    of: str | None = None
    records: str | Callable[[Any], Any] | None = None

    def function(self) -> Callable[[Any], Any]:
        if isinstance(self.by, str):
            return attrgetter(self.by if self.of is None else f"{self.of}.{self.by}")
        if self.of is None:
            return self.by
        by, inner = self.by, attrgetter(self.of)
        return lambda source: by(inner(source))


@dataclass(frozen=True, slots=True)
class Resolver:
    """What is called for a field: with its source, the info, and its arguments by name.

    `prepare` makes those out of the coerced ones. Where nobody changes what it gives, it `shares`
    that: constant arguments are prepared once then.
    """

    call: Callable[..., Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    shares: bool = False


class Sources(Protocol):
    """What is known of the objects that resolvers give."""

    def class_of(self, type_: GraphQLObjectType) -> type | None:
        """Give the one class whose objects certainly are of a type; None where nobody knows."""

    def read(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Read | None:
        """Tell how a field is read; None for one that has a resolver."""

    def resolver(self, field: GraphQLField) -> Resolver:
        """Give what is called where it is not read, or where what was read is not expected."""

    def writer(self, type_: GraphQLLeafType) -> Callable[[Any], Any] | None:
        """Give what completes most values of a type in less time than its own way.

        It gives what JSON has the same of, and raises for any other value. Null is not its concern.
        """


class DefaultSources:
    """graphql-core's own: members of mappings, attributes of anything else."""

    def class_of(self, _: GraphQLObjectType) -> type | None:
        return None

    def read(self, _: GraphQLObjectType, name: str, field: GraphQLField) -> Read | None:
        return Read(_reader(name)) if field.resolve is None else None

    def resolver(self, field: GraphQLField) -> Resolver:
        return Resolver(field.resolve or default_field_resolver)

    def writer(self, _: GraphQLLeafType) -> Callable[[Any], Any] | None:
        return None


def _reader(name: str) -> Callable[[Any], Any]:
    def read(source: Any) -> Any:
        found = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if callable(found):
            raise Unexpected  # it takes the arguments and the info to call it
        return found

    return read
