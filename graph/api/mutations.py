"""The writes. Each field is one transaction, committed before its answer is sent."""

from typing import Annotated

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
from graph.api.unit_of_work import run_command
from users.commands import MAX_COMMANDS
from users.retention import forget

_INPUT = strawberry.argument(description="What to do.")


@strawberry.type(
    description="The writes. Each field is a transaction of its own: in a request with two, the "
    "first stays done when the second is refused. Refusals are data, in `errors`. A field is null "
    "only if it failed; then `extensions.outcome` of its error says whether it was done: NOT_DONE, "
    "UNKNOWN or DONE."
)
class Mutation:
    @strawberry.mutation(metadata=ROOT_FIELD, description="Add a user.")
    async def create_user(
        self,
        info: GraphInfo,
        input: Annotated[CreateUserInput, _INPUT],
    ) -> CreateUserPayload | None:
        key = await key_of_request("createUser", input, input.idempotency_key)
        done = await run_command(info, input.to_command(), key)
        return CreateUserPayload(
            user=done.user, user_edge=done.edge, replayed=done.replayed, errors=done.errors
        )

    @strawberry.mutation(metadata=ROOT_FIELD, description="Change fields of a user.")
    async def update_user(
        self,
        info: GraphInfo,
        input: Annotated[UpdateUserInput, _INPUT],
    ) -> UpdateUserPayload | None:
        done = await run_command(info, input.to_command())
        return UpdateUserPayload(user=done.user, changed=done.changed, errors=done.errors)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Update the user that has a key, or create one with it: for syncing from "
        "another system. Two at once make one user.",
    )
    async def upsert_user(
        self,
        info: GraphInfo,
        input: Annotated[UpsertUserInput, _INPUT],
    ) -> UpsertUserPayload | None:
        done = await run_command(info, input.to_command())
        return UpsertUserPayload(
            user=done.user, created=done.created, changed=done.changed, errors=done.errors
        )

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Switch a user off. They keep their username and e-mail address.",
    )
    async def deactivate_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> DeactivateUserPayload | None:
        done = await run_command(info, input.to_command(UserAction.DEACTIVATE))
        return DeactivateUserPayload(user=done.user, changed=done.changed, errors=done.errors)

    @strawberry.mutation(metadata=ROOT_FIELD, description="Switch a deactivated user on again.")
    async def reactivate_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> ReactivateUserPayload | None:
        done = await run_command(info, input.to_command(UserAction.REACTIVATE))
        return ReactivateUserPayload(user=done.user, changed=done.changed, errors=done.errors)

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Delete a user, so that they can be restored. Their username, e-mail address "
        "and external id are free for others at once. A token with the external id is refused, "
        "unless another user has it.",
    )
    async def delete_user(
        self,
        info: GraphInfo,
        input: Annotated[DeleteUserInput, _INPUT],
    ) -> DeleteUserPayload | None:
        done = await run_command(info, input.to_command())
        return DeleteUserPayload(
            deleted_user_id=None if done.errors else input.id,
            user=done.user,
            changed=done.changed,
            errors=done.errors,
        )

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Bring a deleted user back, deactivated. Refused where another user has their "
        "username, e-mail address or external id by now, and where the external id is the `sub` of "
        "the caller's own token.",
    )
    async def restore_user(
        self,
        info: GraphInfo,
        input: Annotated[UserTransitionInput, _INPUT],
    ) -> RestoreUserPayload | None:
        done = await run_command(info, input.to_command(UserAction.RESTORE))
        return RestoreUserPayload(
            user=done.user, user_edge=done.edge, changed=done.changed, errors=done.errors
        )

    @strawberry.mutation(
        metadata=ROOT_FIELD,
        description="Erase a deleted user for good: what is personal goes from the user and from "
        "their history, with the reasons that were given; that it happened, and when, stays, and "
        "keyed digests of the external ids that they had. A user who is erased already is left as "
        "they are.",
    )
    async def erase_user(
        self,
        info: GraphInfo,
        input: Annotated[EraseUserInput, _INPUT],
    ) -> EraseUserPayload | None:
        done = await run_command(info, input.to_command())
        if done.errors:
            return EraseUserPayload(errors=done.errors)
        await forget(info.context.session)
        return EraseUserPayload(erased_user_id=input.id)

    @strawberry.mutation(
        metadata=operations("input", "operations", MAX_COMMANDS),
        description=f"Do up to {MAX_COMMANDS} things at once, in their order and in one "
        "transaction. Each change leaves an event of its own.",
    )
    async def bulk_users(
        self,
        info: GraphInfo,
        input: Annotated[BulkUsersInput, _INPUT],
    ) -> BulkUsersPayload | None:
        return await bulk_users(info, input)
