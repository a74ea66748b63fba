"""The statuses of a user and the transitions between them."""

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

# A missing pair is rejected. A pair that leads to the same status is accepted.
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

# Viewing the history records no event.
EVENT_OF: dict[UserAction, UserEventType] = {
    UserAction.UPDATE: UserEventType.UPDATED,
    UserAction.DEACTIVATE: UserEventType.DEACTIVATED,
    UserAction.REACTIVATE: UserEventType.REACTIVATED,
    UserAction.DELETE: UserEventType.DELETED,
    UserAction.RESTORE: UserEventType.RESTORED,
    UserAction.ERASE: UserEventType.ERASED,
}


# An erased user stays deleted. Repeating the deletion or the erasure changes nothing.
_OF_THE_ERASED = frozenset({UserAction.DELETE, UserAction.ERASE, UserAction.VIEW_HISTORY})


def next_status(
    status: UserStatus, action: UserAction, *, erased: bool = False
) -> UserStatus | None:
    if erased and action not in _OF_THE_ERASED:
        return None
    return TRANSITIONS.get((status, action))
