"""The payloads of the mutations."""

import strawberry

from graph.api.field_costs import ONE_READ, PER_ROW
from graph.api.types.user import User, UserEdge
from graph.api.types.user_error import UserError

_USER = (
    "The user as they are now; null where it was refused, or only validated, or where the caller "
    "may not read them and has not just created them."
)
_CHANGED = "False where the user was like this already: nothing was written then."
_CREATED = "Whether the user was created, and not there before."
_ERRORS = "All the rules that the request breaks; empty where it was done."
_REPLAYED = "True where this is the answer to an earlier request with the same idempotency key."
_EDGE = "The user as an edge, to put into a list in the default order."


@strawberry.type(description="The answer to `createUser`.")
class CreateUserPayload:
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(
        metadata=ONE_READ, default=None, description=_EDGE
    )
    replayed: bool = strawberry.field(default=False, description=_REPLAYED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type
class _UserChange:  # the fields of payloads, and not a type of the schema
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `updateUser`.")
class UpdateUserPayload(_UserChange):
    pass


@strawberry.type(description="The answer to `upsertUser`.")
class UpsertUserPayload:
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    created: bool = strawberry.field(default=False, description=_CREATED)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `deactivateUser`.")
class DeactivateUserPayload(_UserChange):
    pass


@strawberry.type(description="The answer to `reactivateUser`.")
class ReactivateUserPayload(_UserChange):
    pass


@strawberry.type(description="The answer to `deleteUser`.")
class DeleteUserPayload:
    deleted_user_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id to take out of lists; null where it was refused."
    )
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `restoreUser`.")
class RestoreUserPayload:
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(
        metadata=ONE_READ, default=None, description=_EDGE
    )
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `eraseUser`.")
class EraseUserPayload:
    erased_user_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The id of the user, who is erased now, or was before; null where it was "
        "refused.",
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="What became of one operation of a batch.")
class BulkResult:
    index: int = strawberry.field(description="The operation's place in the batch, from 0.")
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    deleted_user_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a `delete` that was done: the id to take out of lists."
    )
    created: bool = strawberry.field(default=False, description=_CREATED)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The answer to `bulkUsers`.")
class BulkUsersPayload:
    results: list[BulkResult] = strawberry.field(
        metadata=PER_ROW,
        default_factory=list,
        description="One result for each operation, in their order.",
    )
    succeeded: int = strawberry.field(default=0, description="How many operations were done.")
    failed: int = strawberry.field(default=0, description="How many operations were not done.")
    replayed: bool = strawberry.field(default=False, description=_REPLAYED)
    errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="What stood against the batch as a whole; empty where it was carried out.",
    )
