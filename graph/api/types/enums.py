"""The enums of the schema.

Those of lower packages, which know nothing of the schema, are described here. `graph.api` imports
them from here, so that they are described wherever they are used.
"""

from enum import Enum, StrEnum
from typing import TypeVar

import strawberry

from db.models import UserEventType, UserStatus
from users.errors import ErrorCode
from users.lifecycle import UserAction

__all__ = [
    "BulkMode",
    "ErrorCode",
    "OrderDirection",
    "UserAction",
    "UserEventType",
    "UserOrderField",
    "UserStatus",
]

E = TypeVar("E", bound=type[Enum])


def _describe(enum: E, description: str, *, name: str | None = None, **values: str) -> E:
    strawberry.enum(enum, name=name, description=description)
    definition = enum.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values.pop(value.name)
    assert not values
    return enum


class UserOrderField(StrEnum):
    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    USERNAME = "USERNAME"
    EMAIL = "EMAIL"
    STATUS = "STATUS"


class OrderDirection(StrEnum):
    ASC = "ASC"
    DESC = "DESC"


_describe(
    UserStatus,
    "Where a user stands in their life in the directory.",
    ACTIVE="In use.",
    DEACTIVATED="Switched off for now; keeps the username and the e-mail address.",
    DELETED="Gone from lists, and the username and e-mail address are free; can be restored.",
)
_describe(
    UserAction,
    "What can be done with a user.",
    UPDATE="Change the username, the e-mail address or the display name: `updateUser`. The "
    "external id requires the scope `users:link` too.",
    DEACTIVATE="Switch the user off: `deactivateUser`.",
    REACTIVATE="Switch the user on again: `reactivateUser`.",
    DELETE="Delete the user, so that they can be restored: `deleteUser`.",
    RESTORE="Bring the deleted user back: `restoreUser`.",
    ERASE="Erase the deleted user for good: `eraseUser`.",
    VIEW_HISTORY="Read what happened to the user: `User.history`.",
)
_describe(
    UserEventType,
    "What happened to a user.",
    CREATED="The user was added.",
    UPDATED="Fields of the user were changed.",
    DEACTIVATED="The user was switched off.",
    REACTIVATED="The user was switched on again.",
    DELETED="The user was deleted, and can be restored.",
    RESTORED="The deleted user was brought back, deactivated.",
    ERASED="What is personal was taken out of the user and their history, for good.",
)
_describe(
    ErrorCode,
    "Why a mutation was refused. More codes can be added.",
    name="UserErrorCode",
    TAKEN="Another user has this value.",
    REQUIRED="The value cannot be null.",
    TOO_SHORT="The value has fewer characters than `min`.",
    TOO_LONG="The value has more characters than `max`.",
    INVALID_FORMAT="The value is not written as it has to be.",
    RESERVED="The value is kept for another use.",
    NOT_FOUND="There is no such user.",
    INVALID_TRANSITION="The user's status doesn't allow this.",
    VERSION_CONFLICT="The user was changed since the version that the request names.",
    FORBIDDEN="The caller may not do this.",
    IDEMPOTENCY_KEY_REUSED="The idempotency key was used for another request.",
    BATCH_ABORTED="Not done, because the batch was refused.",
    LIMIT_EXCEEDED="The batch has too many operations.",
)
_describe(
    UserOrderField,
    "What users can be ordered by.",
    CREATED_AT="When the user was added.",
    UPDATED_AT="When the user was last changed.",
    USERNAME="The username, by code point, without regard to case.",
    EMAIL="The e-mail address, by code point, without regard to case.",
    STATUS="The status: active, then deactivated, then deleted.",
)
_describe(
    OrderDirection,
    "Which end of an order comes first.",
    ASC="The smallest or earliest first.",
    DESC="The greatest or latest first.",
)


class BulkMode(StrEnum):
    ATOMIC = "ATOMIC"
    PARTIAL = "PARTIAL"


_describe(
    BulkMode,
    "What becomes of a batch when one of its operations is refused.",
    ATOMIC="Nothing is done then: all or none.",
    PARTIAL="The others are done.",
)
