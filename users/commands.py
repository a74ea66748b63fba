"""Commands of the directory and their results.

Exception
├── CommandsRejected    rules are violated: nothing is stored
└── UniquenessRace      a unique value was taken concurrently: roll back and retry
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypedDict

from db.models import User
from users.entity import UniqueField
from users.errors import RuleViolation
from users.lifecycle import UserAction

MAX_COMMANDS: Final = 500  # per batch

StatusAction = Literal[
    UserAction.DEACTIVATE, UserAction.REACTIVATE, UserAction.DELETE, UserAction.RESTORE
]


class UserFields(TypedDict, total=False):
    """The fields to write. A missing field is unchanged. None clears an optional field."""

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
    """Updates a user. `user_id` is None if the given id is not a user id."""

    user_id: int | None
    fields: UserFields
    expected_version: int | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertById:
    """Only updates, since ids cannot be chosen. `by` is the name of the id field."""

    user_id: int | None
    by: Literal["id", "database_id"]
    fields: UserFields
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertByKey:
    """Updates the user with this unique value, or creates one."""

    by: UniqueField
    value: str
    fields: UserFields
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """The time at which a deleted user is erased. None means never."""

    erase_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """Changes the status.

    `retention` applies to deletions. None leaves the erasure date of a deleted user unchanged.
    """

    action: StatusAction
    user_id: int | None
    reason: str | None = None
    expected_version: int | None = None
    retention: Retention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """Erases a deleted user. `confirm_username` is None if no confirmation is required."""

    user_id: int | None
    confirm_username: str | None
    reason: str
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A key chosen by the caller.

    `text` has 1 to 255 characters. `request` is a text that is equal for equal requests.
    """

    text: str
    request: str


Command = Create | Update | UpsertById | UpsertByKey | Transition | Erase


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The user after a command, or the violated rules.

    `user` is None if the command was rejected or only validated. `changed` is false if nothing
    needed to change.
    """

    user: User | None = None
    changed: bool = False
    created: bool = False
    violations: Sequence[RuleViolation] = ()


@dataclass(frozen=True, slots=True)
class CommandResults:
    """One result per command. `replayed` marks stored results of an earlier request."""

    results: Sequence[CommandResult]
    replayed: bool = False


class CommandsRejected(Exception):
    """Nothing is stored. `results` has one entry per command.

    `violations` are those of the request as a whole.
    """

    def __init__(
        self, results: Sequence[CommandResult] = (), violations: Sequence[RuleViolation] = ()
    ) -> None:
        all_violations = [*violations, *(p for result in results for p in result.violations)]
        super().__init__(", ".join(f"{p.field}: {p.code}" for p in all_violations))
        self.results = results
        self.violations = violations


class UniquenessRace(Exception):
    """Another transaction took a unique value. Roll back and retry with `check_taken`."""
