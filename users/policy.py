"""Authorization, as pure functions of the caller and the command.

A right comes from a scope of the caller, or from acting on their own user. No function reads the
database, so a rejection does not reveal whether a hidden user exists.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import true

from db.filters import Condition, one_of
from db.models import User
from users.commands import (
    Command,
    CommandResult,
    Create,
    Erase,
    Transition,
    Update,
    UpsertById,
    UpsertByKey,
)
from users.errors import (
    ErrorCode,
    FieldViolation,
    GeneralViolation,
    InvalidTransition,
    RuleViolation,
    VersionConflict,
)
from users.lifecycle import UserAction, UserStatus, next_status
from users.recorder import Actor


class Scope(StrEnum):
    READ = "users:read"
    WRITE = "users:write"
    ERASE = "users:erase"
    HISTORY = "users:history"
    LINK = "users:link"


EVERY_SCOPE = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller: actor, scopes and expiry.

    `user_id` is set if the caller is a user of the directory. The actor then has the kind USER and
    the same id as text. `subject` is the `sub` of the token. It is None for API keys and in
    development. It is not compared, because no result depends on it.
    """

    actor: Actor
    scopes: frozenset[Scope] = frozenset()
    user_id: int | None = None
    expires_at: datetime | None = None
    subject: str | None = field(default=None, compare=False, repr=False)


NOT_ACTIVE: Final = GeneralViolation(
    code=ErrorCode.FORBIDDEN, message="Your user is no longer active.", field=""
)
_WRITING: Final = replace(NOT_ACTIVE, message="Missing scope `users:write`.")
_ERASING: Final = replace(NOT_ACTIVE, message="Missing scope `users:erase`.")
_LINK: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="Missing scope `users:link`. It is required to set or clear an external id, which "
    "decides who can sign in as the user.",
    field="external_id",
)
# Without this rule, a caller with `users:link` could sign in as any user.
OWN_SUBJECT: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="The external id is the `sub` of your own token. A caller cannot link a user to their "
    "own sign-in; another caller with the scope `users:link` can.",
    field="external_id",
)
_ERASURE: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="Missing scope `users:erase`.",
    field="erase_after",
)
_KEEPING_STATUS: Final = {UserAction.UPDATE, UserAction.ERASE, UserAction.VIEW_HISTORY}


def is_self(caller: Caller, user_id: int | None) -> bool:
    return user_id is not None and caller.user_id == user_id


def can_read_all(caller: Caller) -> bool:
    return Scope.READ in caller.scopes


def can_read_any(caller: Caller) -> bool:
    """Return whether there can be a user that the caller can read."""
    return can_read_all(caller) or caller.user_id is not None


def can_read(caller: Caller, user_id: int) -> bool:
    return can_read_all(caller) or is_self(caller, user_id)


def readable_users(caller: Caller) -> Condition:
    if Scope.READ in caller.scopes:
        return true()
    return one_of(User.id, () if caller.user_id is None else (caller.user_id,))


def can_read_history(caller: Caller, user_id: int | None = None) -> bool:
    """Return whether the caller can read the history of a user, or of all users without an id."""
    known = Scope.READ in caller.scopes or is_self(caller, user_id)
    return known and Scope.HISTORY in caller.scopes


def can_perform(caller: Caller, action: UserAction, user_id: int | None) -> bool:
    """Return whether the caller has the right to an action, regardless of the status."""
    match action:
        case UserAction.UPDATE:
            return Scope.WRITE in caller.scopes or is_self(caller, user_id)
        case UserAction.ERASE:
            return Scope.ERASE in caller.scopes
        case UserAction.VIEW_HISTORY:
            return can_read_history(caller, user_id)
        case _:
            return Scope.WRITE in caller.scopes


def authorize(caller: Caller, command: Command) -> RuleViolation | None:
    return _check_scopes(caller, command) or _check_link(caller, command)


def _check_scopes(caller: Caller, command: Command) -> RuleViolation | None:
    writes = Scope.WRITE in caller.scopes
    match command:
        case Update(user_id=user_id) if is_self(caller, user_id):
            return None
        case Erase(user_id=user_id):
            return None if can_perform(caller, UserAction.ERASE, user_id) else _ERASING
        case Transition(retention=retention) if writes and retention is not None:
            return None if Scope.ERASE in caller.scopes else _ERASURE
        case _:
            return None if writes else _WRITING


def _check_link(caller: Caller, command: Command) -> RuleViolation | None:
    external_ids = _external_ids(command)
    place = next(iter(external_ids), None)
    if place is None:
        return None
    if Scope.LINK not in caller.scopes:
        return replace(_LINK, field=place)
    own = [place for place, given in external_ids.items() if given and given == caller.subject]
    return replace(OWN_SUBJECT, field=own[0]) if own else None


def _external_ids(command: Command) -> dict[str, str | None]:
    """Map the input paths of external ids that a command sets to the values. None clears."""
    found: dict[str, str | None] = {}
    match command:
        case Create(fields={"external_id": str(given)}):
            found["external_id"] = given
        case Update(fields=fields) | UpsertById(fields=fields) | UpsertByKey(fields=fields):
            if "external_id" in fields:
                found["external_id"] = fields["external_id"]
    # An upsert by external id can create the user.
    if isinstance(command, UpsertByKey) and command.by == "external_id":
        found["by.external_id"] = command.value
    return found


def can_write(caller: Caller, status: UserStatus | None) -> bool:
    """Return whether the caller can write. `status` is that of the caller's own user, if any."""
    return caller.user_id is None or status is UserStatus.ACTIVE


def is_session_valid(caller: Caller, now: datetime, status: UserStatus | None) -> bool:
    """Return whether the caller's rights are still valid.

    They end at `expires_at`. Those of a user also end when the `status` is no longer ACTIVE.
    """
    expired = caller.expires_at is not None and caller.expires_at <= now
    return not expired and can_write(caller, status)


def available_actions(
    caller: Caller, user_id: int, status: UserStatus, *, erased: bool = False
) -> list[UserAction]:
    """Return the actions that the caller can perform on a user and that have an effect."""
    writes = can_write(caller, status) or not is_self(caller, user_id)
    return [
        action
        for action in UserAction
        if (writes or action is UserAction.VIEW_HISTORY)
        and can_perform(caller, action, user_id)
        and _has_effect(action, status, erased=erased)
    ]


def _has_effect(action: UserAction, status: UserStatus, *, erased: bool) -> bool:
    if erased and action is UserAction.ERASE:
        return False
    after = next_status(status, action, erased=erased)
    return after is not None and (after is not status or action in _KEEPING_STATUS)


def redact_result(caller: Caller, result: CommandResult) -> CommandResult:
    if Scope.READ in caller.scopes:
        return result
    user = result.user
    # A created user has only what the caller has just sent.
    seen = user if user and (result.created or can_read(caller, user.id)) else None
    return replace(
        result, user=seen, violations=tuple(_redact_violation(caller, p) for p in result.violations)
    )


def _redact_violation(caller: Caller, violation: RuleViolation) -> RuleViolation:
    match violation:
        case InvalidTransition(user=user) | VersionConflict(user=user) if not can_read(
            caller, user.id
        ):
            return GeneralViolation(
                code=violation.code, message=violation.message, field=violation.field
            )
    return violation
