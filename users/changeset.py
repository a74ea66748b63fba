"""What a batch of operations comes to, worked out in memory, one operation after the other.

Every operation sees what those before it have done. Nothing is written here: a plan says what
has to be, so that a batch costs as many statements as one operation does.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final, cast

from db.models import User, UserEventType, UserStatus
from users import identity
from users.commands import (
    CommandResult,
    Create,
    Erase,
    Transition,
    UniquenessRace,
    Update,
    UpsertById,
    UpsertByKey,
)
from users.errors import (
    ErrorCode,
    FieldViolation,
    InvalidTransition,
    RuleViolation,
    UserNotFound,
    VersionConflict,
)
from users.fields import Columns, ParseCache, UserFields, parse_fields
from users.former_ids import Former, given_up
from users.identity import UsernameEmails
from users.lifecycle import EVENT_OF, UserAction, next_status
from users.policy import OWN_SUBJECT
from users.recorder import RECORDED_FIELDS, Event, Recorder
from users.validation import KEY_COLUMNS, Key, ParsedCommand

COLUMNS: Final = tuple(column.key for column in User.__table__.columns)
_WRITTEN: Final = tuple(column for column in COLUMNS if column != "id")
_BLANK: Final = dict.fromkeys(COLUMNS)
_TICK: Final = timedelta(microseconds=1)  # the databases' resolution

_TAKEN = {
    "username": "Another user has this username.",
    "email": "Another user has this e-mail address.",
    "external_id": "Another user has this external id.",
}
_WRONG_STATUS = {
    UserAction.UPDATE: "A deleted user cannot be edited. Restore it first.",
    UserAction.DEACTIVATE: "A deleted user cannot be deactivated. Restore it first.",
    UserAction.REACTIVATE: "A deleted user cannot be reactivated. Restore it first.",
    UserAction.RESTORE: "Only a deleted user can be restored.",
    UserAction.ERASE: "Only a deleted user can be erased. Delete it first.",
}
_ERASED = "An erased user is gone for good."
_USERNAME_IS_EMAIL = FieldViolation(
    code=ErrorCode.RESERVED, message="A username cannot be an e-mail address.", field="username"
)
_USERNAME_IS_OTHER_EMAIL = FieldViolation(
    code=ErrorCode.RESERVED,
    message="A username that is an e-mail address has to be the user's own.",
    field="username",
)
_EMAIL_IS_USERNAME = FieldViolation(
    code=ErrorCode.RESERVED,
    message="The old address is the user's username, too. Change both together.",
    field="email",
)

_ERASED_COLUMNS = (
    "display_name",
    "display_name_key",
    "external_id",
    "external_id_key",
    "status_reason",
    "erase_after",
)

NO_VERSION: Final = (
    FieldViolation(
        code=ErrorCode.NOT_FOUND,
        message="There is no such user, and so no version of it.",
        field="by",
    ),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known when the planning begins.

    `users` are those whom the requests name, locked; `holders` has who holds a wanted unique
    value, as far as somebody has looked: the indexes decide. `changes` has the fields of a user
    that changed since a version that a request has seen, each with the last version to change it.
    """

    users: Mapping[int, User]
    holders: Mapping[Key, int] = field(default_factory=dict)
    changes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


class _ViolationsError(Exception):
    def __init__(self, violations: Sequence[RuleViolation]) -> None:
        self.violations = violations


class ChangeSet:
    """What is to be written. A user that is yet to be inserted has a negative id.

    `subject` is the `sub` of the caller's token, which no user can be given by a restoration.
    What was `cache` before is not parsed again.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        recorder: Recorder,
        subject: str | None = None,
        cache: ParseCache | None = None,
        username_emails: UsernameEmails = UsernameEmails.OWN,
    ) -> None:
        self.snapshot = snapshot
        self.users = dict(snapshot.users)
        self.events: list[Event] = []
        self.drafts: list[User] = []
        self.erased: list[int] = []
        self.former: list[Former] = []
        self._recorder = recorder
        self._subject = subject
        self._cache = cache
        self._username_emails = username_emails
        self._new_ids = count(-1, -1)
        self._owners = dict(snapshot.holders)
        self._owners |= {key: user.id for user in snapshot.users.values() for key in held(user)}
        self._changes: dict[int, dict[str, int]] = defaultdict(dict)
        for user_id, changes in snapshot.changes.items():
            self._changes[user_id] = dict(changes)

    @property
    def created(self) -> list[User]:
        return [user for user_id, user in self.users.items() if user_id < 0]

    @property
    def updated(self) -> list[User]:
        return [
            user for i, user in self.users.items() if i > 0 and user is not self.snapshot.users[i]
        ]

    def vacating(self) -> Iterator[User]:
        """Give the users that have to let go of a value before another can be given it."""
        for user in self.updated:
            before = held(self.snapshot.users[user.id])
            if any(self._owners.get(key, user.id) != user.id for key in before):
                yield user

    def apply(self, parsed: ParsedCommand, at: datetime) -> CommandResult:
        """Plan one operation, or tell all the rules that it breaks and plan nothing."""
        try:
            match parsed.command:
                case Create() as create:
                    return self._create(parsed, create, at)
                case Update() as update:
                    return self._update(parsed, update.user_id, at)
                case UpsertById() as upsert:
                    return self._upsert_by_id(parsed, upsert, at)
                case UpsertByKey() as upsert:
                    return self._upsert_by_key(parsed, upsert, at)
                case Transition() as transition:
                    return self._transition(parsed, transition, at)
                case Erase() as erase:
                    return self._erase(parsed, erase, at)
        except _ViolationsError as error:
            return CommandResult(violations=error.violations)

    def _create(self, parsed: ParsedCommand, create: Create, at: datetime) -> CommandResult:
        violations = [
            *parsed.violations,
            *self._taken(parsed.columns),
            *self._mistakable(parsed.columns, None),
        ]
        if violations:
            raise _ViolationsError(violations)
        if parsed.validate_only:
            return CommandResult()
        birth = {
            "id": next(self._new_ids),
            "is_active": create.is_active,
            "status": UserStatus.ACTIVE if create.is_active else UserStatus.DEACTIVATED,
            "status_changed_at": at,
            "version": 1,
            "created_at": at,
            "updated_at": at,
        }
        user = User.having(_BLANK | parsed.columns | birth)
        self._record(UserEventType.CREATED, None, user)
        return CommandResult(user, changed=True, created=True)

    def _update(self, parsed: ParsedCommand, user_id: int | None, at: datetime) -> CommandResult:
        user, violations = self._find(user_id, UserAction.UPDATE, parsed.expected_version)
        violations += [*parsed.violations, *self._taken(parsed.columns, user_id)]
        violations += self._mistakable(parsed.columns, user)
        if user is None or violations:
            raise _ViolationsError(violations)
        if parsed.validate_only:
            return CommandResult()
        return self._write(user, UserAction.UPDATE, parsed.columns, at)

    def _upsert_by_id(
        self, parsed: ParsedCommand, upsert: UpsertById, at: datetime
    ) -> CommandResult:
        try:
            return self._update(parsed, upsert.user_id, at)
        except _ViolationsError as error:
            raise _ViolationsError(_placed(error.violations, "id", f"by.{upsert.by}")) from None

    def _upsert_by_key(
        self, parsed: ParsedCommand, upsert: UpsertByKey, at: datetime
    ) -> CommandResult:
        user_id = parsed.by and self._owners.get(parsed.by)
        if user_id is not None:
            if user_id not in self.users:
                raise UniquenessRace  # they came between the lock and the look
            return self._update(parsed, user_id, at)
        if upsert.expected_version is not None:
            raise _ViolationsError(NO_VERSION)
        whole = {"username": None, "email": None, upsert.by: upsert.value} | upsert.fields
        create = Create(fields=cast("UserFields", whole))
        try:
            return self._create(ParsedCommand.of(create, self._cache), create, at)
        except _ViolationsError as error:
            if upsert.by in upsert.fields:
                raise
            raise _ViolationsError(
                _placed(error.violations, upsert.by, f"by.{upsert.by}")
            ) from None

    def _transition(
        self, parsed: ParsedCommand, transition: Transition, at: datetime
    ) -> CommandResult:
        action = transition.action
        user, violations = self._find(transition.user_id, action, transition.expected_version)
        violations += parsed.violations
        if user is None or violations:
            raise _ViolationsError(violations)
        at = time_after(user, at)
        status, retention = next_status(user.status, action), transition.retention
        if status is user.status:
            if retention is None or user.status is not UserStatus.DELETED or user.erased_at:
                return CommandResult(user)
            columns: Columns = {"erase_after": retention.erase_after}
            return self._write(user, UserAction.UPDATE, columns, at, parsed.reason)
        if action is UserAction.RESTORE and (violations := self._unrestorable(user)):
            raise _ViolationsError(violations)
        columns = {
            "status": status,
            "is_active": status is UserStatus.ACTIVE,
            "status_reason": parsed.reason,
            "status_changed_at": at,
            "deleted_at": at if status is UserStatus.DELETED else None,
            "erase_after": retention and retention.erase_after,
        }
        return self._write(user, action, columns, at, parsed.reason)

    def _unrestorable(self, user: User) -> list[RuleViolation]:
        violations: list[RuleViolation] = [*self._taken(dict(kept(user)), user.id)]
        if user.external_id is not None and user.external_id == self._subject:
            violations.append(replace(OWN_SUBJECT, field="id"))
        return violations

    def _erase(self, parsed: ParsedCommand, erase: Erase, at: datetime) -> CommandResult:
        user, violations = self._find(erase.user_id, UserAction.ERASE, erase.expected_version)
        violations += parsed.violations
        if user and not user.erased_at and not _confirmed(erase, user):
            message = "This is not the user's username."
            violations.append(
                FieldViolation(
                    code=ErrorCode.INVALID_FORMAT, message=message, field="confirm_username"
                )
            )
        if user is None or violations:
            raise _ViolationsError(violations)
        if user.erased_at:
            return CommandResult(user)
        at = time_after(user, at)
        username, email = identity.erased_name(user.id), identity.erased_email(user.id)
        columns = dict.fromkeys(_ERASED_COLUMNS) | {
            "username": username,
            "username_key": username,
            "email": email,
            "email_key": email,
            "erased_at": at,
        }
        self.erased.append(user.id)
        return self._write(user, UserAction.ERASE, columns, at, parsed.reason)

    def _find(
        self, user_id: int | None, action: UserAction, expected_version: int | None
    ) -> tuple[User | None, list[RuleViolation]]:
        """Find a user for a write, and all that stands against doing `action` to it."""
        if user_id is None:
            message = "This is not the id of a user."
            return None, [
                FieldViolation(code=ErrorCode.INVALID_FORMAT, message=message, field="id")
            ]
        user = self.users.get(user_id)
        if user is None:
            return None, [UserNotFound(user_id=user_id)]
        violations: list[RuleViolation] = []
        if expected_version is not None and expected_version != user.version:
            violations.append(self._conflict(user, expected_version))
        erased = user.erased_at is not None
        if next_status(user.status, action, erased=erased) is None:
            message = _ERASED if erased else _WRONG_STATUS[action]
            violations.append(InvalidTransition(message=message, user=user, status=user.status))
        return user, violations

    def _conflict(self, user: User, expected: int) -> VersionConflict:
        changed = self._changes[user.id]
        ordered = [name for name in RECORDED_FIELDS.values() if changed.get(name, 0) > expected]
        return VersionConflict(user=user, expected=expected, changed_fields=ordered)

    def _taken(self, columns: Columns, except_id: int | None = None) -> list[FieldViolation]:
        """List every unique value among `columns` that is known to be another user's."""
        return [
            FieldViolation(code=ErrorCode.TAKEN, message=_TAKEN[name], field=name)
            for name, column in KEY_COLUMNS.items()
            if self._owners.get((column, columns.get(column) or ""), except_id) != except_id
        ]

    def _mistakable(self, columns: Columns, user: User | None) -> list[FieldViolation]:
        """List what would make a username an e-mail address that it may not be.

        A user who has such a username already keeps it until one of the two is changed.
        """
        before = vars(user) if user else _BLANK
        after = before | columns
        renamed = after["username_key"] != before["username_key"]
        moved = after["email_key"] != before["email_key"]
        if self._username_emails is UsernameEmails.ANY or not (renamed or moved):
            return []
        address = self._address(after["username"])
        if address is None or (self._username_emails is UsernameEmails.NONE and not renamed):
            return []
        if self._username_emails is UsernameEmails.NONE:
            return [_USERNAME_IS_EMAIL]
        if address == after["email_key"]:
            return []
        if renamed:
            return [_USERNAME_IS_OTHER_EMAIL]
        return [_EMAIL_IS_USERNAME] if address == before["email_key"] else []

    def _address(self, username: str | None) -> str | None:
        """Return the key of the e-mail address that a username is; None if it is none."""
        if not username or "@" not in username:
            return None
        columns, _ = parse_fields({"email": username}, self._cache)
        address: str | None = columns.get("email_key")
        return address

    def _write(
        self,
        user: User,
        action: UserAction,
        columns: Columns,
        at: datetime,
        reason: str | None = None,
    ) -> CommandResult:
        if all(getattr(user, name) == value for name, value in columns.items()):
            return CommandResult(user)
        times = {"version": user.version + 1, "updated_at": time_after(user, at)}
        written = changed(user, columns | times)
        self._record(EVENT_OF[action], user, written, reason)
        return CommandResult(written, changed=True)

    def _record(
        self, type: UserEventType, before: User | None, after: User, reason: str | None = None
    ) -> None:
        # What an erasure takes is recorded with all that the history has (`former_ids.close`).
        gone = None if type is UserEventType.ERASED else given_up(before, after)
        if gone is not None:
            self.former.append((after.id, gone, after.updated_at))
        event = self._recorder.event(type, before, after, reason)
        self.events.append(event)
        self.users[after.id] = after
        for change in event["changes"]:
            self._changes[after.id][change["field"]] = after.version
        for key in held(before) if before else ():
            del self._owners[key]
        self._owners |= dict.fromkeys(held(after), after.id)
        if after.id < 0:
            self.drafts.append(after)


def time_after(user: User, at: datetime) -> datetime:
    """Return the time of a user's next version: `at`, or just after their present version.

    Clocks can go back, and clocks of several servers differ. No two versions have the same time:
    a client that asks for what was updated after the version it has must find every later one.
    """
    return max(at, user.updated_at + _TICK)


def _confirmed(erase: Erase, user: User) -> bool:
    given = erase.confirm_username
    return given is None or identity.username_key(given) == user.username_key


def kept(user: User) -> list[Key]:
    """List the unique values that stand in a user, whether they are free for others or not."""
    columns = vars(user)
    return [(name, columns[name]) for name in KEY_COLUMNS.values() if columns[name] is not None]


def held(user: User) -> list[Key]:
    """List the unique values that nobody else can have: a deleted user has let go of theirs."""
    return [] if vars(user)["status"] is UserStatus.DELETED else kept(user)


def changed(user: User, columns: Columns) -> User:
    before = vars(user)
    return User.having({column: before[column] for column in COLUMNS} | columns)


def row_of(user: User) -> dict[str, Any]:
    """Give what is to be written of a user: all columns but the id."""
    columns = vars(user)
    return {column: columns[column] for column in _WRITTEN}


def _placed(violations: Iterable[RuleViolation], field: str, place: str) -> list[RuleViolation]:
    return [replace(p, field=place) if p.field == field else p for p in violations]
