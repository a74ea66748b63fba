"""Rules that depend on a stored user or on the holders of unique values, as pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from db.models import User
from users.commands import Erase
from users.entity import BLANK, KEY_COLUMNS, Columns, Key
from users.errors import ErrorCode, FieldViolation, InvalidTransition, RuleViolation
from users.identity import UsernameEmails, username_key
from users.lifecycle import UserAction, next_status
from users.validation import ParseCache, parse_fields

_TAKEN: Final = {
    "username": "Another user has this username.",
    "email": "Another user has this e-mail address.",
    "external_id": "Another user has this external id.",
}
_WRONG_STATUS: Final = {
    UserAction.UPDATE: "A deleted user cannot be edited. Restore it first.",
    UserAction.DEACTIVATE: "A deleted user cannot be deactivated. Restore it first.",
    UserAction.REACTIVATE: "A deleted user cannot be reactivated. Restore it first.",
    UserAction.RESTORE: "Only a deleted user can be restored.",
    UserAction.ERASE: "Only a deleted user can be erased. Delete it first.",
}
_ERASED: Final = "An erased user cannot be changed."
_USERNAME_IS_EMAIL: Final = FieldViolation(
    code=ErrorCode.RESERVED, message="A username cannot be an e-mail address.", field="username"
)
_USERNAME_IS_OTHER_EMAIL: Final = FieldViolation(
    code=ErrorCode.RESERVED,
    message="A username that is an e-mail address must be the user's own address.",
    field="username",
)
_NOT_CONFIRMED: Final = FieldViolation(
    code=ErrorCode.INVALID_FORMAT,
    message="This is not the user's username.",
    field="confirm_username",
)
_EMAIL_IS_USERNAME: Final = FieldViolation(
    code=ErrorCode.RESERVED,
    message="The old address is the user's username, too. Change both together.",
    field="email",
)
NO_VERSION: Final = (
    FieldViolation(
        code=ErrorCode.NOT_FOUND,
        message="There is no such user, so it has no version.",
        field="by",
    ),
)


def taken(
    columns: Columns, owners: Mapping[Key, int], except_id: int | None = None
) -> list[FieldViolation]:
    return [
        FieldViolation(code=ErrorCode.TAKEN, message=_TAKEN[name], field=name)
        for name, column in KEY_COLUMNS.items()
        if owners.get((column, columns.get(column) or ""), except_id) != except_id
    ]


def invalid_transition(user: User, action: UserAction) -> InvalidTransition | None:
    erased = user.erased_at is not None
    if next_status(user.status, action, erased=erased) is not None:
        return None
    message = _ERASED if erased else _WRONG_STATUS[action]
    return InvalidTransition(message=message, user=user, status=user.status)


def confirmation_violation(erase: Erase, user: User) -> FieldViolation | None:
    given = erase.confirm_username
    if given is None or username_key(given) == user.username_key:
        return None
    return _NOT_CONFIRMED


def username_email_violations(
    columns: Columns, user: User | None, allowed: UsernameEmails, cache: ParseCache | None
) -> list[FieldViolation]:
    """Check a username that is an e-mail address.

    An existing username is checked only if the username or the address changes.
    """
    before = vars(user) if user else BLANK
    after = before | columns
    renamed = after["username_key"] != before["username_key"]
    moved = after["email_key"] != before["email_key"]
    if allowed is UsernameEmails.ANY or not (renamed or moved):
        return []
    address = _email_key_of(after["username"], cache)
    if address is None or (allowed is UsernameEmails.NONE and not renamed):
        return []
    if allowed is UsernameEmails.NONE:
        return [_USERNAME_IS_EMAIL]
    if address == after["email_key"]:
        return []
    if renamed:
        return [_USERNAME_IS_OTHER_EMAIL]
    return [_EMAIL_IS_USERNAME] if address == before["email_key"] else []


def moved_to(
    violations: Iterable[RuleViolation], field: str, new_field: str
) -> list[RuleViolation]:
    return [replace(v, field=new_field) if v.field == field else v for v in violations]


def _email_key_of(username: str | None, cache: ParseCache | None) -> str | None:
    if not username or "@" not in username:
        return None
    columns, _ = parse_fields({"email": username}, cache)
    key: str | None = columns.get("email_key")
    return key
