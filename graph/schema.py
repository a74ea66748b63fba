"""The table of contents: what the API is made of."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graph.errors import present
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.subscriptions import Subscription
from graph.types.user_error import (
    FieldError,
    GenericError,
    NotFoundError,
    TransitionError,
    VersionConflictError,
)
from graph.types.user_event import UserEvent


class Schema(strawberry.Schema):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._schema.description = "A user directory: find, change and follow users."
        for place in _inputs(self._schema):
            if place.default_value is None:
                # Python's default for an argument that may be left out; clients need no `= null`.
                place.default_value = Undefined

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Replace each error by the one that the caller sees; whatever the transport is."""
        context: Any = execution_context and execution_context.context
        request_id = getattr(context, "request_id", None)
        errors[:] = [present(error, request_id) for error in errors]


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
