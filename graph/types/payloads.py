"""What each mutation answers: the user as they are after it, and the rules it broke."""

import strawberry

from graph.types.user import User, UserEdge
from graph.types.user_error import UserError

_USER = "The user as they are now; null where it was refused, or only validated."
_CHANGED = "False where the user was like this already: nothing was written then."
_ERRORS = "All the rules that the request breaks; empty where it was done."
_EDGE = "The user as an edge, to put into a list in the default order."


@strawberry.type(description="The answer to `createUser`.")
class CreateUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(default=None, description=_EDGE)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `updateUser`.")
class UpdateUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `upsertUser`.")
class UpsertUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    created: bool = strawberry.field(
        default=False, description="Whether the user was created, and not there before."
    )
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `deactivateUser`.")
class DeactivateUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `reactivateUser`.")
class ReactivateUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `deleteUser`.")
class DeleteUserPayload:
    deleted_user_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id to take out of lists; null where it was refused."
    )
    user: User | None = strawberry.field(default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `restoreUser`.")
class RestoreUserPayload:
    user: User | None = strawberry.field(default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(default=None, description=_EDGE)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)
