"""What can be asked of the directory, one value for each verb, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from db.models import User
from users.entity import UniqueField
from users.errors import RuleViolation
from users.lifecycle import UserAction

StatusAction = Literal[
    UserAction.DEACTIVATE, UserAction.REACTIVATE, UserAction.DELETE, UserAction.RESTORE
]


class UserFields(TypedDict, total=False):
    """The fields to write. A missing field is unchanged; None clears it if it can be cleared."""

    username: str | None
    email: str | None
    display_name: str | None
    external_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    fields: UserFields
    is_active: bool = True
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An id of None stands for one that cannot be a user's."""

    user_id: int | None
    fields: UserFields
    expected_version: int | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertById:
    """An update like any other, for whom nobody can be created; `by` is the id's name."""

    user_id: int | None
    by: Literal["id", "database_id"]
    fields: UserFields
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertByKey:
    """An update of the user that has a unique value, or the creation of one with it."""

    by: UniqueField
    value: str
    fields: UserFields
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """When a deleted user is to be erased; None for never."""

    erase_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A new status. `retention` goes with a deletion; without it the date stays as it is."""

    action: StatusAction
    user_id: int | None
    reason: str | None = None
    expected_version: int | None = None
    retention: Retention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """The end of a deleted user; with None for the username, nobody has to confirm it."""

    user_id: int | None
    confirm_username: str | None
    reason: str
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The caller's own name for a request, of 1 to 255 characters, and the request as it came."""

    text: str
    request: str


Command = Create | Update | UpsertById | UpsertByKey | Transition | Erase


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The user after an operation, or the rules that it broke.

    `user` is None where it was refused, or only validated. `changed` is false where the user was
    already as asked.
    """

    user: User | None = None
    changed: bool = False
    created: bool = False
    violations: Sequence[RuleViolation] = ()


@dataclass(frozen=True, slots=True)
class CommandResults:
    """One result for each operation; `replayed` where they are those of an earlier request."""

    results: Sequence[CommandResult]
    replayed: bool = False


class CommandsRejected(Exception):
    """Nothing is to be kept of what was asked.

    `results` tell why, one for each operation; `violations` are of the request as a whole.
    """

    def __init__(
        self, results: Sequence[CommandResult] = (), violations: Sequence[RuleViolation] = ()
    ) -> None:
        told = [*violations, *(p for result in results for p in result.violations)]
        super().__init__(", ".join(f"{p.field}: {p.code}" for p in told))
        self.results = results
        self.violations = violations


class UniquenessRace(Exception):
    """Somebody else took a unique value meanwhile: roll back, look, and do it all again."""
