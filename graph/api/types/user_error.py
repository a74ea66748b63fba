"""The errors in mutation payloads: typed, with the path of the value in the input."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from graph.api import global_ids
from graph.api.conflicts import events_since, net_changes
from graph.api.context import GraphInfo
from graph.api.field_costs import ONE_READ
from graph.api.types.enums import ErrorCode, UserStatus
from graph.api.types.user import User
from graph.api.types.user_event import Actor, FieldChange
from users.errors import (
    FieldViolation,
    GeneralViolation,
    InvalidTransition,
    RuleViolation,
    UndoneVersionConflict,
    UserNotFound,
    VersionConflict,
)
from users.policy import can_read_history


@strawberry.interface(description="A violation of a rule. Nothing was changed.")
class UserError:
    code: ErrorCode = strawberry.field(description="The kind of violation. Codes do not change.")
    message: str = strawberry.field(description="A message for people.")
    path: list[str] = strawberry.field(
        description='The path of the value in the arguments, for example `["input", "email"]`.'
    )


@strawberry.type(description="A value of the input that is not accepted.")
class FieldError(UserError):
    min: int | None = strawberry.field(
        description="The minimum number of Unicode code points, if there is one."
    )
    max: int | None = strawberry.field(
        description="The maximum number of Unicode code points, if there is one."
    )
    pattern: str | None = strawberry.field(
        description="A regular expression (ECMA 262) that every valid value matches, for checks "
        "while people type. Some invalid values match it too."
    )


@strawberry.type(description="No user has this id, or the caller may not see the user.")
class NotFoundError(UserError):
    user_id: strawberry.ID = strawberry.field(description="The id that was not found.")
    # Relay takes every `id` for the identity of the object, here of the user whom it names.
    id: strawberry.ID = strawberry.field(
        description="The id that was not found.",
        deprecation_reason="Use `userId`: caches merge this object with the user of the same id. "
        "`id` will be removed in 1.0.",
    )


@strawberry.type(description="The status of the user does not allow this action.")
class TransitionError(UserError):
    from_: UserStatus = strawberry.field(
        name="from",
        description="The current status of the user. In a rejected batch it counts the changes of "
        "earlier operations, which were undone.",
    )
    current: User = strawberry.field(description="The current user.")


@strawberry.type(description="The user was changed after the version that the request names.")
class VersionConflictError(UserError):
    expected_version: int = strawberry.field(description="The version that the request expected.")
    actual_version: int = strawberry.field(
        description="The current version. In a rejected batch it counts the changes of earlier "
        "operations, which were undone."
    )
    changed_fields: list[str] = strawberry.field(
        description="The fields of `User` that were changed since the expected version, in the "
        "order of `User`."
    )
    current: User = strawberry.field(description="The current user.")
    changed_at: datetime = strawberry.field(description="The time of the latest change.")
    conflict: strawberry.Private[VersionConflict]

    @strawberry.field(
        metadata=ONE_READ,
        description="The author of the latest change. Null unless `current.viewerCan` contains "
        "`VIEW_HISTORY`, or if the change was undone together with its batch.",
    )
    async def changed_by(self, info: GraphInfo) -> Actor | None:
        events = await self._events(info)
        return Actor.of(events[-1]) if events else None

    @strawberry.field(
        metadata=ONE_READ,
        description="The difference between the expected and the current version: one change for "
        "each field that has another value now, or whose values were erased, in the order of "
        "`User`. Null in the same cases as `changedBy`.",
    )
    async def changes(self, info: GraphInfo) -> list[FieldChange] | None:
        events = await self._events(info)
        if not events:
            return None
        return [FieldChange.of(c) for c in net_changes(events, self.expected_version)]

    async def _events(self, info: GraphInfo) -> Sequence[Any]:
        user = self.conflict.user
        is_undone = isinstance(self.conflict, UndoneVersionConflict)
        if is_undone or not can_read_history(info.context.caller, user.id):
            return ()
        span = (user.id, self.expected_version, self.actual_version)
        return await events_since(info.context).load(span)


@strawberry.type(description="A violation without further details.")
class GenericError(UserError):
    pass


def user_errors(
    violations: Sequence[RuleViolation], at: Sequence[str] = ("input",)
) -> list[UserError]:
    # `at` is the path of the input.
    return [_user_error(violation, at) for violation in violations]


def _actual_version(conflict: VersionConflict) -> int:
    if isinstance(conflict, UndoneVersionConflict):
        return conflict.actual
    return conflict.user.version


def _user_error(violation: RuleViolation, at: Sequence[str]) -> UserError:
    code, message = violation.code, violation.message
    path = [*at, *(to_camel_case(name) for name in violation.field.split(".") if name)]
    match violation:
        case FieldViolation():
            return FieldError(
                code=code,
                message=message,
                path=path,
                min=violation.min,
                max=violation.max,
                pattern=violation.pattern,
            )
        case UserNotFound():
            unknown = strawberry.ID(global_ids.encode_user(violation.user_id))
            return NotFoundError(code=code, message=message, path=path, user_id=unknown, id=unknown)
        case VersionConflict():
            return VersionConflictError(
                code=code,
                message=message,
                path=path,
                expected_version=violation.expected,
                actual_version=_actual_version(violation),
                changed_fields=list(violation.changed_fields),
                current=User.of(violation.user),
                changed_at=violation.user.updated_at,
                conflict=violation,
            )
        case GeneralViolation():
            return GenericError(code=code, message=message, path=path)
        case InvalidTransition():
            return TransitionError(
                code=code,
                message=message,
                path=path,
                from_=violation.status,
                current=User.of(violation.user),
            )
