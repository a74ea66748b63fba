"""The mutations. Each field is one transaction, committed before its response is sent."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import strawberry

from graph.api.bulk import bulk_users
from graph.api.context import GraphInfo
from graph.api.field_costs import ROOT_FIELD, operations
from graph.api.idempotency import key_of_request
from graph.api.inputs.bulk import BulkUsersInput
from graph.api.inputs.mutations import (
    CreateUserInput,
    DeleteUserInput,
    EraseUserInput,
    UpdateUserInput,
    UpsertUserInput,
    UserTransitionInput,
)
from graph.api.types.enums import UserAction
from graph.api.types.payloads import (
    BulkUsersPayload,
    CreateUserPayload,
    DeactivateUserPayload,
    DeleteUserPayload,
    EraseUserPayload,
    ReactivateUserPayload,
    RestoreUserPayload,
    UpdateUserPayload,
    UpsertUserPayload,
)
from graph.api.unit_of_work import MutationResult, run_command
from users.commands import MAX_COMMANDS, Command
from users.retention import forget

P = TypeVar("P")
_KeyedInput = (
    CreateUserInput
    | UpdateUserInput
    | UpsertUserInput
    | UserTransitionInput
    | DeleteUserInput
    | EraseUserInput
)
_INPUT = strawberry.argument(description="All values of the mutation.")


@strawberry.type(
    description="All writes. Each field is a separate transaction: if the second of two is "
    "rejected, the first remains committed. Violations are in the payload's `errors`; "
    "a field is null only if it failed, and then `extensions.outcome` of its error is "
    "NOT_DONE, UNKNOWN or DONE."
)
class Mutation:
    @strawberry.mutation(metadata=ROOT_FIELD, description="Adds a user to the directory.")
    async def create_user(
        self,
        info: GraphInfo,
        input: Annotated[CreateUserInput, _INPUT],
    ) -> CreateUserPayload | None:
        done = await _run(info, input, input.to_command())
        return CreateUserPayload(
            user=done.user, user_edge=done.edge, replayed=done.replayed, errors=done.errors
        )

    @strawberry.mutation(metadata=ROOT_FIELD, description="Changes the given fields of a user.")
    async def update_user(
        self,
        info: GraphInfo,
        input: Annotated[UpdateUserInput, _INPUT],
    ) -> UpdateUserPayload | None:
        done = await _run(info, input, input.to_command())
        return _changed(UpdateUserPayload, done)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Updates the user with the given key, or creates one: for synchronisation "
        "with another system. Concurrent calls create one user.",
    )
    async def upsert_user(
        self,
        info: GraphInfo,
        input: Annotated[UpsertUserInput, _INPUT],
    ) -> UpsertUserPayload | None:
        done = await _run(info, input, input.to_command())
        return _changed(UpsertUserPayload, done, created=done.created)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Deactivates an active user. The user keeps the username and the e-mail "
        "address.",
    )
    async def deactivate_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> DeactivateUserPayload | None:
        done = await _run(info, input, input.to_command(UserAction.DEACTIVATE))
        return _changed(DeactivateUserPayload, done)

    @strawberry.mutation(metadata=ROOT_FIELD, description="Makes a deactivated user active.")
    async def reactivate_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> ReactivateUserPayload | None:
        done = await _run(info, input, input.to_command(UserAction.REACTIVATE))
        return _changed(ReactivateUserPayload, done)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Deletes a user, who can be restored. The username, the e-mail address and "
        "the external id can be used by others immediately. A token with the external "
        "id is rejected, unless another user has it.",
    )
    async def delete_user(
        self,
        info: GraphInfo,
        input: Annotated[DeleteUserInput, _INPUT],
    ) -> DeleteUserPayload | None:
        done = await _run(info, input, input.to_command())
        deleted = None if done.errors else input.id
        return _changed(DeleteUserPayload, done, deleted_user_id=deleted)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Restores a deleted user as deactivated. Rejected if another user has the "
        "username, the e-mail address or the external id, or if the external id is "
        "the `sub` of the caller's own token.",
    )
    async def restore_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> RestoreUserPayload | None:
        done = await _run(info, input, input.to_command(UserAction.RESTORE))
        return _changed(RestoreUserPayload, done)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Erases a deleted user permanently. Personal data and reasons are removed "
        "from the user and the history; the events themselves and keyed digests of "
        "former external ids remain. A user who is already erased does not change.",
    )
    async def erase_user(
        self,
        info: GraphInfo,
        input: Annotated[EraseUserInput, _INPUT],
    ) -> EraseUserPayload | None:
        done = await _run(info, input, input.to_command())
        if done.errors:
            return EraseUserPayload(errors=done.errors)
        await forget(info.context.session)
        return EraseUserPayload(erased_user_id=input.id, replayed=done.replayed)

    @strawberry.mutation(
        metadata=operations("input", "operations", MAX_COMMANDS),
        description=f"Executes up to {MAX_COMMANDS} operations in order, in one transaction. "
        "Each change records its own event.",
    )
    async def bulk_users(
        self,
        info: GraphInfo,
        input: Annotated[BulkUsersInput, _INPUT],
    ) -> BulkUsersPayload | None:
        return await bulk_users(info, input)


async def _run(info: GraphInfo, given: _KeyedInput, command: Command) -> MutationResult:
    text = given.idempotency_key
    key = None if text is None else await key_of_request(info.field_name, given, text)
    return await run_command(info, command, key)


def _changed(payload: Callable[..., P], done: MutationResult, **own: Any) -> P:
    """Return a payload with the fields that those of all changes have, and its own."""
    return payload(
        user=done.user,
        user_edge=done.edge,
        changed=done.changed,
        replayed=done.replayed,
        errors=done.errors,
        **own,
    )
