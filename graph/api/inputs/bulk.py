"""The input of `bulkUsers`: each operation has the input of a single mutation."""

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


@strawberry.input(
    description="One operation of a batch. An `idempotencyKey` in it is an error: the batch has "
    "its own.",
    one_of=True,
)
class UserOperation:
    create: CreateUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Adds a user."
    )
    update: UpdateUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Changes the given fields of a user."
    )
    upsert: UpsertUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Updates the user with the given key, or creates one."
    )
    deactivate: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Deactivates an active user."
    )
    reactivate: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Makes a deactivated user active."
    )
    delete: DeleteUserInput | None = strawberry.field(
        default=strawberry.UNSET, description="Deletes a user, who can be restored."
    )
    restore: UserTransitionInput | None = strawberry.field(
        default=strawberry.UNSET, description="Restores a deleted user as deactivated."
    )

    def given(self) -> tuple[str, Any]:
        """Return the verb and its input. GraphQL ensures that there is exactly one."""
        return next((n, v) for n, v in vars(self).items() if v is not strawberry.UNSET)

    def to_command(self) -> Command:
        match self.given():
            case _, given if given.idempotency_key is not None:
                raise InputError("In `bulkUsers` the `idempotencyKey` is the batch's own.")
            case verb, UserTransitionInput() as transition:
                return transition.to_command(cast("StatusAction", UserAction[verb.upper()]))
            case _, given:
                to_command: Command = given.to_command()
                return to_command


@strawberry.input(description="Operations to execute in order, in one transaction.")
class BulkUsersInput:
    operations: list[UserOperation] = strawberry.field(
        description=f"What to do: at most {MAX_COMMANDS} operations. Each sees what those "
        "before it have done."
    )
    mode: BulkMode = strawberry.field(
        default=BulkMode.ATOMIC, description="Whether one rejected operation aborts the others."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="A client-generated key of 1 to 255 characters, preferably random. A batch "
        "repeated with the same key and input within 24 hours returns the first "
        "answer and changes nothing. A rejected batch does not use up its key.",
    )
