"""The states of a user, and what leads from one to another."""

from enum import StrEnum

from db.models import UserEventType, UserStatus

__all__ = ["EVENT_OF", "TRANSITIONS", "UserAction", "UserStatus", "next_status"]


class UserAction(StrEnum):
    UPDATE = "UPDATE"
    DEACTIVATE = "DEACTIVATE"
    REACTIVATE = "REACTIVATE"
    DELETE = "DELETE"
    RESTORE = "RESTORE"
    ERASE = "ERASE"
    VIEW_HISTORY = "VIEW_HISTORY"


_A, _I, _D = UserStatus.ACTIVE, UserStatus.DEACTIVATED, UserStatus.DELETED

# A pair that isn't here is refused; one that leads back to where it began changes nothing.
TRANSITIONS: dict[tuple[UserStatus, UserAction], UserStatus] = {
    (_A, UserAction.UPDATE): _A,
    (_A, UserAction.DEACTIVATE): _I,
    (_A, UserAction.REACTIVATE): _A,
    (_A, UserAction.DELETE): _D,
    (_I, UserAction.UPDATE): _I,
    (_I, UserAction.DEACTIVATE): _I,
    (_I, UserAction.REACTIVATE): _A,
    (_I, UserAction.DELETE): _D,
    (_I, UserAction.RESTORE): _I,
    (_D, UserAction.DELETE): _D,
    (_D, UserAction.RESTORE): _I,
    (_D, UserAction.ERASE): _D,
    **{(status, UserAction.VIEW_HISTORY): status for status in UserStatus},
}

# What is only looked at leaves no event.
EVENT_OF: dict[UserAction, UserEventType] = {
    UserAction.UPDATE: UserEventType.UPDATED,
    UserAction.DEACTIVATE: UserEventType.DEACTIVATED,
    UserAction.REACTIVATE: UserEventType.REACTIVATED,
    UserAction.DELETE: UserEventType.DELETED,
    UserAction.RESTORE: UserEventType.RESTORED,
    UserAction.ERASE: UserEventType.ERASED,
}


# An erased user is deleted for ever: what is true of them already is, and nothing else will be.
_OF_THE_ERASED = frozenset({UserAction.DELETE, UserAction.ERASE, UserAction.VIEW_HISTORY})


def next_status(
    status: UserStatus, action: UserAction, *, erased: bool = False
) -> UserStatus | None:
    """Tell where `action` leads from `status`; None where it is refused."""
    if erased and action not in _OF_THE_ERASED:
        return None
    return TRANSITIONS.get((status, action))
