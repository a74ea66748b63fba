"""The declarations of the API. `graph/execution/schema.py` builds the schema."""

from collections.abc import Iterator
from typing import Any, Final

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
from graph.strawberry_adapter import type_declaration

DECLARATIONS: Final[dict[str, Any]] = {
    "query": Query,
    "mutation": Mutation,
    "subscription": Subscription,
    "types": [
        UserEvent,
        FieldError,
        NotFoundError,
        TransitionError,
        VersionConflictError,
        GenericError,
    ],
}
DESCRIPTION: Final = "A user directory: find, change and follow users."


def config(*, suggestions: bool) -> StrawberryConfig:
    return StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=not suggestions)


def complete(schema: GraphQLSchema) -> None:
    """Add what cannot be declared to the schema that Strawberry has built."""
    schema.description = DESCRIPTION
    # Strawberry's own resolver fails for a type inside a list or non-null.
    introspected: Any = schema.type_map["__Type"]
    introspected.fields["isOneOf"].resolve = _is_one_of
    for place in _inputs(schema):
        if place.default_value is None:
            # Strawberry declares Python's default as `= null`, which clients do not need.
            place.default_value = Undefined


def _is_one_of(type_: GraphQLType, _: object) -> bool | None:
    """Resolve `__Type.isOneOf` (GraphQL spec, section 4.2): null unless it is an input object."""
    if not isinstance(type_, GraphQLInputObjectType):
        return None
    declared = type_declaration(type_)
    return bool(declared and declared.is_one_of)


def _inputs(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for type_ in schema.type_map.values():
        match type_:
            case GraphQLInputObjectType():
                yield from type_.fields.values()
            case GraphQLObjectType():
                for field in type_.fields.values():
                    yield from field.args.values()
