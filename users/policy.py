"""Who may do what.

A right is a scope of the caller's, or that the user is the caller themselves. What is asked here is
answered from the caller alone, before anything is looked up, so that a refusal tells nothing.
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
    """Whoever asks: what they are known as, what they may, and until when.

    `user_id` is the user they are themselves, where the directory knows them; their actor is of
    the kind USER then, with the same id as text. `subject` is the `sub` of their token; None for an
    API key and in development. It is not compared: no result depends on it.
    """

    actor: Actor
    scopes: frozenset[Scope] = frozenset()
    user_id: int | None = None
    expires_at: datetime | None = None
    subject: str | None = field(default=None, compare=False, repr=False)


NOT_ALLOWED: Final = GeneralViolation(
    code=ErrorCode.FORBIDDEN, message="You may not do this.", field=""
)
NOT_ACTIVE: Final = replace(NOT_ALLOWED, message="You are not an active user any more.")
_LINK: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="Missing scope `users:link`. It is required to set or clear an external id, which "
    "decides who can sign in as the user.",
    field="external_id",
)
# Otherwise `users:link` would be the right to become any user, and to read as them.
OWN_SUBJECT: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="The external id is the `sub` of your own token. A caller cannot link a user to their "
    "own sign-in; another caller with the scope `users:link` can.",
    field="external_id",
)
_ERASURE: Final = FieldViolation(
    code=ErrorCode.FORBIDDEN,
    message="You may not erase users, now or later.",
    field="erase_after",
)
_KEEPING_STATUS: Final = {UserAction.UPDATE, UserAction.ERASE, UserAction.VIEW_HISTORY}


def is_self(caller: Caller, user_id: int | None) -> bool:
    return user_id is not None and caller.user_id == user_id


def can_read_all(caller: Caller) -> bool:
    return Scope.READ in caller.scopes


def can_read_any(caller: Caller) -> bool:
    """Whether there can be a user that the caller may read."""
    return can_read_all(caller) or caller.user_id is not None


def can_read(caller: Caller, user_id: int) -> bool:
    return can_read_all(caller) or is_self(caller, user_id)


def readable_users(caller: Caller) -> Condition:
    """Give what holds for the users that the caller may read, and for no other."""
    if Scope.READ in caller.scopes:
        return true()
    return one_of(User.id, () if caller.user_id is None else (caller.user_id,))


def can_read_history(caller: Caller, user_id: int | None = None) -> bool:
    """Tell it of a user's history; without an id, of everybody's."""
    known = Scope.READ in caller.scopes or is_self(caller, user_id)
    return known and Scope.HISTORY in caller.scopes


def can_perform(caller: Caller, action: UserAction, user_id: int | None) -> bool:
    """Tell whether the caller may do this to a user, whatever status either of them has."""
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
    """Tell what forbids the operation; None where nothing does."""
    return _check_scopes(caller, command) or _check_link(caller, command)


def _check_scopes(caller: Caller, command: Command) -> RuleViolation | None:
    """Return what forbids the operation, whatever external id it sets."""
    writes = Scope.WRITE in caller.scopes
    match command:
        case Update(user_id=user_id) if is_self(caller, user_id):
            return None
        case Erase(user_id=user_id):
            return None if can_perform(caller, UserAction.ERASE, user_id) else NOT_ALLOWED
        case Transition(retention=retention) if writes and retention is not None:
            return None if Scope.ERASE in caller.scopes else _ERASURE
        case _:
            return None if writes else NOT_ALLOWED


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
    """Return the external ids that an operation sets, by their place in the input; None clears.

    An upsert by an external id counts, since it can create the user.
    """
    found: dict[str, str | None] = {}
    match command:
        case Create(fields={"external_id": str(given)}):
            found["external_id"] = given
        case Update(fields=fields) | UpsertById(fields=fields) | UpsertByKey(fields=fields):
            if "external_id" in fields:
                found["external_id"] = fields["external_id"]
    if isinstance(command, UpsertByKey) and command.by == "external_id":
        found["by.external_id"] = command.value
    return found


def can_write(caller: Caller, status: UserStatus | None) -> bool:
    """Tell whether the caller can write, `status` being that of the user they are, if any."""
    return caller.user_id is None or status is UserStatus.ACTIVE


def is_session_valid(caller: Caller, now: datetime, status: UserStatus | None) -> bool:
    """Tell whether the rights that a caller came with hold on.

    They end when `expires_at` comes, and, for who is a user, when their `status` isn't ACTIVE.
    """
    expired = caller.expires_at is not None and caller.expires_at <= now
    return not expired and can_write(caller, status)


def available_actions(
    caller: Caller, user_id: int, status: UserStatus, *, erased: bool = False
) -> list[UserAction]:
    """List what the caller may do to a user, as they are, that would make a difference."""
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
    """Hide the users of an answer whom the caller may not read.

    Whom the operation created is shown: that is what the caller has just said of them.
    """
    if Scope.READ in caller.scopes:
        return result
    user = result.user
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
