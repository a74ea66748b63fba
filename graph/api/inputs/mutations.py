"""The inputs of the mutations. The rules for texts are in `users`."""

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
    "3 to 64 letters, digits and symbols as defined by RFC 8265, without spaces. A username that "
    "is an e-mail address must be the user's own address."
)
_NEW_USERNAME = f"{_USERNAME} Cannot be null."
_EMAIL = "A valid e-mail address of at most 254 bytes in UTF-8, 64 characters before the `@`."
_NEW_EMAIL = f"{_EMAIL} Cannot be null."
_NEW_DISPLAY_NAME = "One line of 1 to 200 characters. Null clears it."
_LINK = (
    "Requires the scope `users:link`, and cannot be the `sub` of the caller's own token: it "
    "decides who can sign in as the user."
)
_NEW_EXTERNAL_ID = f"Another system's key, of 1 to 255 characters; null clears it. {_LINK}"
_REASON = "The reason, one line of 1 to 500 characters. It is stored in the history."
_EXPECTED_VERSION = (
    "The version that the client has seen. If the user has another version, "
    "nothing is written and the error is VersionConflictError."
)
_IDEMPOTENCY_KEY = (
    "A client-generated key of 1 to 255 characters, preferably random. A request repeated with "
    "the same key and input within 24 hours returns the first answer and changes nothing. A "
    "rejected request does not use up its key."
)
_VALIDATE_ONLY = "True reports every error and changes nothing; `user` is null."


def key_of(text: str) -> int | None:
    # None if the id is invalid: the service reports it together with all other errors.
    try:
        return global_ids.decode_user(text)
    except global_ids.InvalidId:
        return None


@strawberry.input(description="The values of a new user.")
class CreateUserInput:
    username: str = strawberry.field(description=_USERNAME)
    email: str = strawberry.field(description=f"{_EMAIL} It is not checked against DNS.")
    display_name: str | None = strawberry.field(
        default=None, description="One line of 1 to 200 characters, for people."
    )
    is_active: bool = strawberry.field(
        default=True, description="False creates the user as deactivated."
    )
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
    description="Changes of a user. Absent fields stay unchanged; null clears a value."
)
class UpdateUserInput:
    id: strawberry.ID = strawberry.field(description="The id of the user to change.")
    username: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_USERNAME)
    email: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EMAIL)
    display_name: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_DISPLAY_NAME)
    external_id: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EXTERNAL_ID)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    validate_only: bool = strawberry.field(default=False, description=_VALIDATE_ONLY)
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

    def to_command(self) -> Update:
        return Update(
            user_id=key_of(self.id),
            fields=_given_fields(self),
            expected_version=self.expected_version,
            validate_only=self.validate_only,
        )


@strawberry.input(
    description="A user to update, or to create if no user has the key. Absent fields stay "
    "unchanged; null clears a value. A new user gets the key of `by` unless another "
    "value is given."
)
class UpsertUserInput:
    by: UserBy = strawberry.field(
        description="The key to find the user by. An `id` or `databaseId` cannot create a user."
    )
    username: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_USERNAME)
    email: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EMAIL)
    display_name: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_DISPLAY_NAME)
    external_id: strawberry.Maybe[str | None] = strawberry.field(description=_NEW_EXTERNAL_ID)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

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


@strawberry.input(description="The user whose status changes, and why.")
class UserTransitionInput:
    id: strawberry.ID = strawberry.field(description="The id of the user.")
    reason: str | None = strawberry.field(default=None, description=_REASON)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

    def to_command(self, action: StatusAction) -> Transition:
        return Transition(
            action=action,
            user_id=key_of(self.id),
            reason=self.reason,
            expected_version=self.expected_version,
        )


@strawberry.input(description="The user to delete, and when to erase them.")
class DeleteUserInput:
    id: strawberry.ID = strawberry.field(description="The id of the user.")
    reason: str | None = strawberry.field(default=None, description=_REASON)
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    erase_after: strawberry.Maybe[datetime | None] = strawberry.field(
        description="When to erase the user; the next run of `roster erase-due` after this time "
        "does it. Null means never. For a user who is already deleted, a new value "
        "replaces the old one."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

    def to_command(self) -> Transition:
        given = self.erase_after
        return Transition(
            action=UserAction.DELETE,
            user_id=key_of(self.id),
            reason=self.reason,
            expected_version=self.expected_version,
            retention=None if given is None else Retention(given.value),
        )


@strawberry.input(description="The user to erase permanently.")
class EraseUserInput:
    id: strawberry.ID = strawberry.field(
        description="The id of the user. The user must be deleted."
    )
    confirm_username: str = strawberry.field(
        description="The username of the user, as a confirmation."
    )
    reason: str = strawberry.field(
        description="The reason, one line of 1 to 500 characters. It stays in the history and "
        "should not contain personal data."
    )
    expected_version: int | None = strawberry.field(default=None, description=_EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=_IDEMPOTENCY_KEY)

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
