"""The table of contents: what the API is made of."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLType,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig

from graph.api.mutations import Mutation
from graph.api.queries import Query
from graph.api.scalars import SCALARS
from graph.api.subscriptions import Subscription
from graph.api.types.user_error import (
    FieldError,
    GenericError,
    NotFoundError,
    TransitionError,
    VersionConflictError,
)
from graph.api.types.user_event import UserEvent


class Schema(strawberry.Schema):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        # Strawberry's own resolver fails for a type within a list or a non-null one.
        introspected: Any = self._schema.type_map["__Type"]
        introspected.fields["isOneOf"].resolve = _is_one_of
        self._schema.description = "A user directory: find, change and follow users."
        for place in _inputs(self._schema):
            if place.default_value is None:
                # Python's default for an argument that may be left out; clients need no `= null`.
                place.default_value = Undefined


def _is_one_of(type_: GraphQLType, _: object) -> bool | None:
    """Answer `__Type.isOneOf` (GraphQL spec, section 4.2): null for what is no input object."""
    if not isinstance(type_, GraphQLInputObjectType):
        return None
    return bool(type_.extensions["strawberry-definition"].is_one_of)


def _inputs(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for type_ in schema.type_map.values():
        match type_:
            case GraphQLInputObjectType():
                yield from type_.fields.values()
            case GraphQLObjectType():
                for field in type_.fields.values():
                    yield from field.args.values()


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=[
        UserEvent,
        FieldError,
        NotFoundError,
        TransitionError,
        VersionConflictError,
        GenericError,
    ],
    config=StrawberryConfig(scalar_map=SCALARS),
)
