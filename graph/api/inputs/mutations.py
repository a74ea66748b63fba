"""The inputs of the mutations. What a text may be is decided in `users`, not here."""

from datetime import datetime
from typing import TYPE_CHECKING, cast

import strawberry

from graph.api import global_ids
from graph.api.inputs.user_lookup import UserBy
from graph.api.types.enums import UserAction
from users.commands import (
    Create,
    Erase,
    Retention,
    StatusAction,
    Transition,
    Update,
    UpsertById,
    UpsertByKey,
    UserFields,
)

if TYPE_CHECKING:
    from users.entity import UniqueField

_USERNAME = (
    "3 to 64 letters, digits and signs by RFC 8265, without spaces. One that is an e-mail address "
    "has to be the user's own."
)
_NEW_USERNAME = f"{_USERNAME} Cannot be null."
_NEW_EMAIL = "An e-mail address of at most 254 characters; cannot be null."
_NEW_DISPLAY_NAME = "One line of 1 to 200 characters; null clears it."
_LINK = (
    "Requires the scope `users:link`, and cannot be the `sub` of the caller's own token: it "
    "decides who can sign in as the user."
)
_NEW_EXTERNAL_ID = f"Another system's key, of 1 to 255 characters; null clears it. {_LINK}"
_REASON = "Why: one line of 1 to 500 characters, kept in the history."
_EXPECTED_VERSION = "The version that was seen; where there is another by now, nothing is written."
_IDEMPOTENCY_KEY = (
    "A name of yours for this request, of 1 to 255 characters and best at random: sent again with "
    "the same input within 24 hours, nothing is done twice and the first answer comes again. A "
    "refused request leaves its key free."
)
_VALIDATE_ONLY = "True answers every error and changes nothing; `user` is null then."


def key_of(text: str) -> int | None:
    """Read the id of a user; None for anything else, which the service reports with the rest."""
    try:
        return global_ids.decode_user(text)
    except global_ids.InvalidId:
        return None


@strawberry.input(description="A user to add.")
class CreateUserInput:
    username: str = strawberry.field(description=_USERNAME)
    email: str = strawberry.field(description="An e-mail address of at most 254 characters.")
    display_name: str | None = strawberry.field(
        default=None, description="One line of 1 to 200 characters."
    )
    is_active: bool = strawberry.field(default=True, description="False adds the user deactivated.")
    external_id: str | None = strawberry.field(
        default=None, description=f"Another system's key, of 1 to 255 characters. {_LINK}"
    )
    validate_only: bool = strawberry.field(default=False, description=_VALIDATE_ONLY)
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

    def to_command(self) -> Create:
        fields: UserFields = {
            "username": self.username,
            "email": self.email,
            "display_name": self.display_name,
            "external_id": self.external_id,
        }
        return Create(fields=fields, is_active=self.is_active, validate_only=self.validate_only)


@strawberry.input(
    description="What to change of a user. What is left out stays as it is; null clears a value."
)
class UpdateUserInput:
    id: strawberry.ID = strawberry.field(description="The user to change.")
    username: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_USERNAME)
    email: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EMAIL)
    display_name: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_DISPLAY_NAME)
    external_id: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EXTERNAL_ID)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    validate_only: bool = strawberry.field(default=False, description=_VALIDATE_ONLY)

    def to_command(self) -> Update:
        return Update(
            user_id=key_of(self.id),
            fields=_given_fields(self),
            expected_version=self.expected_version,
            validate_only=self.validate_only,
        )


@strawberry.input(
    description="A user to update, or to create where nobody has the key. What is left out stays "
    "as it is; null clears a value. A new user takes the key from `by` where it isn't given again."
)
class UpsertUserInput:
    by: UserBy = strawberry.field(
        description="The key to find the user by; by an id nobody can be created."
    )
    username: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_USERNAME)
    email: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EMAIL)
    display_name: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_DISPLAY_NAME)
    external_id: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EXTERNAL_ID)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)

    def to_command(self) -> UpsertById | UpsertByKey:
        fields, seen = _given_fields(self), self.expected_version
        match self.by.given():
            case "id", text:
                return UpsertById(
                    by="id", user_id=key_of(text), fields=fields, expected_version=seen
                )
            case "database_id", number:
                return UpsertById(
                    by="database_id", user_id=number, fields=fields, expected_version=seen
                )
            case name, text:
                by = cast("UniqueField", name)
                return UpsertByKey(by=by, value=text, fields=fields, expected_version=seen)


@strawberry.input(description="A user whose status is to change.")
class UserTransitionInput:
    id: strawberry.ID = strawberry.field(description="The user.")
    reason: str | None = strawberry.field(default=None, description=_REASON)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)

    def to_command(self, action: StatusAction) -> Transition:
        return Transition(
            action=action,
            user_id=key_of(self.id),
            reason=self.reason,
            expected_version=self.expected_version,
        )


@strawberry.input(description="A user to delete.")
class DeleteUserInput:
    id: strawberry.ID = strawberry.field(description="The user.")
    reason: str | None = strawberry.field(default=None, description=_REASON)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    erase_after: strawberry.Maybe[datetime | None] = strawberry.field(
        description="When to erase them for good; a moment that has passed means at the next run "
        "of `roster erase-due`, null never. For a user who is deleted already this sets another "
        "date; left out, it stays as it is."
    )

    def to_command(self) -> Transition:
        given = self.erase_after
        return Transition(
            action=UserAction.DELETE,
            user_id=key_of(self.id),
            reason=self.reason,
            expected_version=self.expected_version,
            retention=None if given is None else Retention(given.value),
        )


@strawberry.input(description="A user to erase for good. This cannot be undone.")
class EraseUserInput:
    id: strawberry.ID = strawberry.field(description="The user, who has to be deleted already.")
    confirm_username: str = strawberry.field(
        description="The user's username, to be sure that it is them."
    )
    reason: str = strawberry.field(
        description="Why: one line of 1 to 500 characters. It stays in the history, so that it "
        "should say nothing personal."
    )
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)

    def to_command(self) -> Erase:
        return Erase(
            user_id=key_of(self.id),
            confirm_username=self.confirm_username,
            reason=self.reason,
            expected_version=self.expected_version,
        )


def _given_fields(given: UpdateUserInput | UpsertUserInput) -> UserFields:
    fields = UserFields()
    if given.username is not None:
        fields["username"] = given.username.value
    if given.email is not None:
        fields["email"] = given.email.value
    if given.display_name is not None:
        fields["display_name"] = given.display_name.value
    if given.external_id is not None:
        fields["external_id"] = given.external_id.value
    return fields
