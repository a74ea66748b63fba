"""The input of `bulkUsers`: many operations, each one of the single mutations' inputs."""

from typing import Any, cast

import strawberry

from graph.api.errors import InputError
from graph.api.inputs.mutations import (
    CreateUserInput,
    DeleteUserInput,
    UpdateUserInput,
    UpsertUserInput,
    UserTransitionInput,
)
from graph.api.types.enums import BulkMode, UserAction
from users.commands import MAX_COMMANDS, Command, StatusAction


@strawberry.input(description="The one thing to do.", one_of=True)
class UserOperation:
    create: CreateUserInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="Add a user. The idempotency key is the batch's: one in here is an error.",
    )
    update: UpdateUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Change fields of a user."
    )
    upsert: UpsertUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Update the user that has a key, or create one."
    )
    deactivate: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Switch a user off."
    )
    reactivate: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Switch a deactivated user on again."
    )
    delete: DeleteUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Delete a user, so that they can be restored."
    )
    restore: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Bring a deleted user back, deactivated."
    )

    def given(self) -> tuple[str, Any]:
        """Give the verb and its input; that there is one, GraphQL has seen to."""
        return next((n, v) for n, v in vars(self).items() if v is not strawberry.UNSET)

    def to_command(self) -> Command:
        match self.given():
            case _, CreateUserInput(idempotency_key=str()):
                raise InputError("In `bulkUsers` the `idempotencyKey` is the batch's own.")
            case verb, UserTransitionInput() as transition:
                return transition.to_command(cast("StatusAction", UserAction[verb.upper()]))
            case _, given:
                to_command: Command = given.to_command()
                return to_command


@strawberry.input(description="Many things to do, in their order and in one transaction.")
class BulkUsersInput:
    operations: list[UserOperation] = strawberry.field(
        description=f"What to do: at most {MAX_COMMANDS} operations. Each sees what those "
        "before it have done."
    )
    mode: BulkMode = strawberry.field(
        default=BulkMode.ATOMIC, description="What a refused operation means for the others."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="A name of yours for this batch, of 1 to 255 characters and best at random: "
        "sent again with the same input within 24 hours, nothing is done twice and the first "
        "answer comes again. A batch of which nothing was done leaves its key free.",
    )
