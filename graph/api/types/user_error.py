"""What a mutation answers when it is refused: data, typed, with the place in the input."""

from collections.abc import Sequence

import strawberry
from strawberry.utils.str_converters import to_camel_case

from graph.api import global_ids
from graph.api.types.enums import ErrorCode, UserStatus
from graph.api.types.user import User
from users.errors import (
    FieldViolation,
    GeneralViolation,
    InvalidTransition,
    RuleViolation,
    UserNotFound,
    VersionConflict,
)


@strawberry.interface(description="A rule that the request breaks. Nothing was changed.")
class UserError:
    code: ErrorCode = strawberry.field(description="Which kind of rule; stable.")
    message: str = strawberry.field(description="What is wrong, for people to read.")
    path: list[str] = strawberry.field(
        description='Where in the arguments: `["input", "email"]` for instance.'
    )


@strawberry.type(description="A value that cannot be taken.")
class FieldError(UserError):
    min: int | None = strawberry.field(description="The fewest characters it can have.")
    max: int | None = strawberry.field(description="The most characters it can have.")
    pattern: str | None = strawberry.field(
        description="A regular expression (ECMA 262) that every right value matches, for a form to "
        "check as people type; some wrong values match it too."
    )


@strawberry.type(description="There is no such user.")
class NotFoundError(UserError):
    id: strawberry.ID = strawberry.field(description="The id that no user has.")


@strawberry.type(description="The user's status doesn't allow this.")
class TransitionError(UserError):
    from_: UserStatus = strawberry.field(name="from", description="The status the user has.")
    current: User = strawberry.field(description="The user as they are.")


@strawberry.type(description="The user was changed since the version that the request names.")
class VersionConflictError(UserError):
    expected_version: int = strawberry.field(description="The version that the request names.")
    actual_version: int = strawberry.field(description="The version that there is.")
    changed_fields: list[str] = strawberry.field(
        description="The fields of `User` that were changed since, in its order."
    )
    current: User = strawberry.field(description="The user as they are.")


@strawberry.type(description="A rule that `code` and `message` say all of.")
class GenericError(UserError):
    pass


def user_errors(
    violations: Sequence[RuleViolation], at: Sequence[str] = ("input",)
) -> list[UserError]:
    """Say what is wrong with the input at `at`."""
    return [_user_error(violation, at) for violation in violations]


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
            return NotFoundError(code=code, message=message, path=path, id=unknown)
        case VersionConflict():
            return VersionConflictError(
                code=code,
                message=message,
                path=path,
                expected_version=violation.expected,
                actual_version=violation.user.version,
                changed_fields=list(violation.changed_fields),
                current=User.of(violation.user),
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
