"""The enums of the schema.

Enums of lower packages get their descriptions here. `graph.api` imports them from this module, so
that the descriptions are always set.
"""

from enum import Enum, StrEnum
from typing import TypeVar

import strawberry

from db.models import UserEventType, UserStatus
from users.errors import ErrorCode
from users.field_rules import Normalisation
from users.lifecycle import UserAction
from users.policy import Scope

__all__ = [
    "ActorType",
    "BulkMode",
    "ErrorCode",
    "Normalisation",
    "OrderDirection",
    "Scope",
    "UserAction",
    "UserEventOrder",
    "UserEventType",
    "UserField",
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
    DISPLAY_NAME = "DISPLAY_NAME"
    STATUS = "STATUS"


class OrderDirection(StrEnum):
    ASC = "ASC"
    DESC = "DESC"


_describe(
    UserStatus,
    "A state in the lifecycle of a user.",
    ACTIVE="The user can authenticate and write.",
    DEACTIVATED="The user cannot authenticate. The username and the e-mail address stay reserved.",
    DELETED="The user is not listed by default and can be restored. The username and the e-mail "
    "address can be used by others.",
)
_describe(
    UserAction,
    "An action on a user.",
    UPDATE="Change the username, the e-mail address or the display name with `updateUser`. The "
    "external id also requires the scope `users:link`.",
    DEACTIVATE="Deactivate the user with `deactivateUser`.",
    REACTIVATE="Make the user active with `reactivateUser`.",
    DELETE="Delete the user, who can be restored, with `deleteUser`.",
    RESTORE="Restore the deleted user with `restoreUser`.",
    ERASE="Erase the deleted user permanently with `eraseUser`.",
    VIEW_HISTORY="Read the events of the user in `User.history`.",
)
_describe(
    UserEventType,
    "The kind of an event.",
    CREATED="The user was created.",
    UPDATED="Fields of the user were changed.",
    DEACTIVATED="The user was deactivated.",
    REACTIVATED="The user was made active.",
    DELETED="The user was deleted, and can be restored.",
    RESTORED="The deleted user was restored as deactivated.",
    ERASED="Personal data was permanently removed from the user and the history.",
)
_describe(
    ErrorCode,
    "The kinds of violations. More codes can be added.",
    name="UserErrorCode",
    TAKEN="Another user has this value.",
    REQUIRED="This field is required.",
    TOO_SHORT="The value has fewer characters than `min`.",
    TOO_LONG="The value has more characters than `max`.",
    INVALID_FORMAT="The value does not have the required format.",
    RESERVED="The value is reserved.",
    NOT_FOUND="No user has this id, or the caller may not see the user.",
    INVALID_TRANSITION="The status of the user does not allow this action.",
    VERSION_CONFLICT="The user was changed after the version that the request names.",
    FORBIDDEN="The caller lacks a permission.",
    IDEMPOTENCY_KEY_REUSED="The idempotency key was used with a different input.",
    BATCH_ABORTED="Not executed, because another operation of the batch was rejected.",
    LIMIT_EXCEEDED="The batch has too many operations.",
)
_describe(
    Normalisation,
    "How a text is normalised before it is stored.",
    NONE="The text is stored as given.",
    TRIMMED_NFC="Unicode NFC, without white space at both ends.",
    USERNAME="RFC 8265, UsernameCasePreserved: width mapping and Unicode NFC.",
    EMAIL="Unicode NFC, with the domain in lower case.",
)
_describe(
    UserOrderField,
    "A field that users can be ordered by.",
    CREATED_AT="The time of creation.",
    UPDATED_AT="The time of the last change.",
    USERNAME="The username, by code point, regardless of case.",
    EMAIL="The e-mail address, by code point, regardless of case.",
    DISPLAY_NAME="The display name, by code point, regardless of case. Users without one come "
    "last if ascending, and first if descending.",
    STATUS="The status: active, deactivated, deleted.",
)
_describe(
    OrderDirection,
    "Whether an order ascends or descends.",
    ASC="Smallest or earliest first.",
    DESC="Greatest or latest first.",
)


class UserEventOrder(StrEnum):
    OLDEST_FIRST = "OLDEST_FIRST"
    NEWEST_FIRST = "NEWEST_FIRST"


_describe(
    UserEventOrder,
    "The order of a list of events. `cursor` is the position of an event in either order.",
    OLDEST_FIRST="The order of the change feed: `after` returns later events.",
    NEWEST_FIRST="The reversed order of the change feed: `after` returns earlier events.",
)


class ActorType(StrEnum):
    USER = "USER"
    SERVICE = "SERVICE"
    SYSTEM = "SYSTEM"


_describe(
    ActorType,
    "The kind of an author.",
    USER="A user of this directory.",
    SERVICE="A program with an API key, or with a token that belongs to no user.",
    SYSTEM="Roster itself: a command of the operator, or a request without a token to a "
    "development server.",
)


class UserField(StrEnum):
    """The fields of `users.recorder.RECORDED_FIELDS`."""

    USERNAME = "USERNAME"
    EMAIL = "EMAIL"
    DISPLAY_NAME = "DISPLAY_NAME"
    EXTERNAL_ID = "EXTERNAL_ID"
    STATUS = "STATUS"
    STATUS_REASON = "STATUS_REASON"
    ERASE_AFTER = "ERASE_AFTER"
    OTHER = "OTHER"


_describe(
    UserField,
    "A field of `User` whose changes are recorded. More fields can be added.",
    USERNAME="The field `username`.",
    EMAIL="The field `email`.",
    DISPLAY_NAME="The field `displayName`.",
    EXTERNAL_ID="The field `externalId`.",
    STATUS="The field `status`.",
    STATUS_REASON="The field `statusReason`.",
    ERASE_AFTER="The field `eraseAfter`.",
    OTHER="A field that this version of Roster does not have, recorded by another version.",
)


class BulkMode(StrEnum):
    ATOMIC = "ATOMIC"
    PARTIAL = "PARTIAL"


_describe(
    BulkMode,
    "How a batch handles a rejected operation.",
    ATOMIC="All operations are executed, or none.",
    PARTIAL="Operations that are not rejected are executed.",
)

_describe(
    Scope,
    "A right that a token or an API key has. More scopes can be added.",
    READ="`users:read`: read every user. Without it a user can read themselves only.",
    WRITE="`users:write`: create, update, upsert, deactivate, reactivate, delete and restore "
    "users.",
    ERASE="`users:erase`: erase users, and set `eraseAfter`.",
    HISTORY="`users:history`: read the history of users who may be read. `userEvents` needs it and "
    "`users:read`.",
    LINK="`users:link`: set or clear `externalId`.",
)
