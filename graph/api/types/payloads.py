"""The payloads of the mutations."""

import strawberry

from graph.api.field_costs import FREE, ONE_READ, PER_ROW
from graph.api.queries import Query
from graph.api.types.user import User, UserEdge
from graph.api.types.user_error import UserError

_USER = (
    "The user after the write. Null if the write was rejected or only validated, or if the caller "
    "may not read the user and has not just created them."
)
_CHANGED = "False if nothing needed to change; nothing was written."
_CREATED = "True if the write created the user, false if the user existed."
_ERRORS = "Every rule that the request violates. Empty if the write was executed."
_REPLAYED = "True if this is the stored answer to an earlier request with the same idempotency key."
_EDGE = "The user as an edge of the list in the default order, for updating a client's cache."
_QUERY = (
    "The queries, resolved after the write has ended, also if it was rejected: for reading again "
    "what it may have changed. Its fields cost the same as in a query."
)


# The common fields of payloads, in the order of the bases. They are not types of the schema.


@strawberry.type
class _WithUser:
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(
        metadata=ONE_READ, default=None, description=_EDGE
    )


@strawberry.type
class _WithChanged:
    changed: bool = strawberry.field(default=False, description=_CHANGED)


@strawberry.type
class _WithCreated:
    created: bool = strawberry.field(default=False, description=_CREATED)


@strawberry.type
class _WithDeletedId:
    deleted_user_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id to remove from lists. Null if the deletion was rejected."
    )


@strawberry.type
class _WithErasedId:
    erased_user_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The id of the user, who is now erased. Null if the erasure was rejected.",
    )


@strawberry.type
class _Payload:
    replayed: bool = strawberry.field(default=False, description=_REPLAYED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)
    # Nullable, so that a failed read does not remove the result of the write from the answer.
    query: Query | None = strawberry.field(metadata=FREE, default_factory=Query, description=_QUERY)


@strawberry.type(description="The result of `createUser`.")
class CreateUserPayload(_WithUser, _Payload):
    pass


@strawberry.type(description="The result of `updateUser`.")
class UpdateUserPayload(_WithUser, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `upsertUser`.")
class UpsertUserPayload(_WithUser, _WithCreated, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `deactivateUser`.")
class DeactivateUserPayload(_WithUser, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `reactivateUser`.")
class ReactivateUserPayload(_WithUser, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `deleteUser`.")
class DeleteUserPayload(_WithDeletedId, _WithUser, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `restoreUser`.")
class RestoreUserPayload(_WithUser, _WithChanged, _Payload):
    pass


@strawberry.type(description="The result of `eraseUser`.")
class EraseUserPayload(_WithErasedId, _Payload):
    pass


@strawberry.type(description="The result of one operation of a batch.")
class BulkResult:
    index: int = strawberry.field(
        description="The position of the operation in the batch, starting at 0."
    )
    user: User | None = strawberry.field(metadata=ONE_READ, default=None, description=_USER)
    user_edge: UserEdge | None = strawberry.field(
        metadata=ONE_READ, default=None, description=_EDGE
    )
    deleted_user_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id to remove from lists, after a successful `delete`."
    )
    created: bool = strawberry.field(default=False, description=_CREATED)
    changed: bool = strawberry.field(default=False, description=_CHANGED)
    errors: list[UserError] = strawberry.field(default_factory=list, description=_ERRORS)


@strawberry.type(description="The result of `bulkUsers`.")
class BulkUsersPayload:
    results: list[BulkResult] = strawberry.field(
        metadata=PER_ROW,
        default_factory=list,
        description="One result for each operation, in the order of the input.",
    )
    succeeded: int = strawberry.field(
        default=0, description="The number of operations that were executed."
    )
    failed: int = strawberry.field(
        default=0, description="The number of operations that were not executed."
    )
    replayed: bool = strawberry.field(default=False, description=_REPLAYED)
    errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Violations that concern the batch as a whole. Empty if it was executed.",
    )
    query: Query | None = strawberry.field(metadata=FREE, default_factory=Query, description=_QUERY)
