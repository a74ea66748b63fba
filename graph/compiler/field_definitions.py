"""The fields of a schema's types, with the data that all operations share."""

from inspect import iscoroutinefunction

from graphql import GraphQLField, GraphQLObjectType

from graph.compiler.completion import leaf_completer
from graph.compiler.resolvers import Resolvers


class FieldDefinition:
    """A field of a type, with the data that all its selections share."""

    __slots__ = (
        "accessor",
        "definition",
        "is_async",
        "leaf_completer",
        "name",
        "parent",
        "read",
        "resolve",
        "resolver",
    )

    def __init__(
        self, resolvers: Resolvers, parent: GraphQLObjectType, name: str, definition: GraphQLField
    ) -> None:
        self.parent = parent
        self.name = name
        self.definition = definition
        self.resolver = resolvers.resolver(definition)
        self.resolve = self.resolver.call
        self.is_async = iscoroutinefunction(self.resolve)
        self.accessor = None if definition.args else resolvers.accessor(parent, name, definition)
        self.read = None if self.accessor is None else self.accessor.function()
        self.leaf_completer = leaf_completer(definition.type)


class FieldDefinitions:
    """The field definitions of a schema. Each is created at its first selection."""

    def __init__(self, resolvers: Resolvers) -> None:
        self._resolvers = resolvers
        self._definitions: dict[tuple[str, str], FieldDefinition] = {}

    def get(
        self, parent: GraphQLObjectType, name: str, definition: GraphQLField
    ) -> FieldDefinition:
        found = self._definitions.get((parent.name, name))
        if found is None:
            found = FieldDefinition(self._resolvers, parent, name, definition)
            self._definitions[parent.name, name] = found
        return found
