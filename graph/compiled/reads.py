"""How fields without a resolver of their own are read from their source.

What a schema's library does by default for such a field is its own; whoever makes a `Compiler` can
say it. By default it is what graphql-core does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from graphql import GraphQLField, GraphQLObjectType


class Unexpected(Exception):
    """A value is not what most are; it takes the careful way to say what it is."""


@dataclass(frozen=True, slots=True)
class Read:
    """A read of a source, or of what is at the source's attribute `of`.

    It is an attribute, or any function of it. A function may raise Unexpected.
    """

    by: str | Callable[[Any], Any]
    of: str | None = None

    def function(self) -> Callable[[Any], Any]:
        if isinstance(self.by, str):
            return attrgetter(self.by if self.of is None else f"{self.of}.{self.by}")
        if self.of is None:
            return self.by
        by, inner = self.by, attrgetter(self.of)
        return lambda source: by(inner(source))


class Sources(Protocol):
    """What is known of the objects that resolvers give."""

    def class_of(self, type_: GraphQLObjectType) -> type | None:
        """Give the one class whose objects certainly are of a type; None where nobody knows."""

    def read(self, type_: GraphQLObjectType, name: str, field: GraphQLField) -> Read | None:
        """Tell how a field is read; None for one that has a resolver."""


class DefaultSources:
    """graphql-core's own: members of mappings, attributes of anything else."""

    def class_of(self, _: GraphQLObjectType) -> type | None:
        return None

    def read(self, _: GraphQLObjectType, name: str, field: GraphQLField) -> Read | None:
        return Read(_reader(name)) if field.resolve is None else None


def _reader(name: str) -> Callable[[Any], Any]:
    def read(source: Any) -> Any:
        found = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if callable(found):
            raise Unexpected  # it takes the arguments and the info to call it
        return found

    return read
