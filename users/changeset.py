"""Applies commands in memory, each to the result of the previous ones.

A change set collects the rows and events to write, so that a batch takes as many statements as a
single command. `users/writer.py` writes them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Final, cast

from db.models import User, UserEventType, UserStatus
from users import identity, rules
from users.commands import (
    CommandResult,
    Create,
    Erase,
    Transition,
    UniquenessRace,
    Update,
    UpsertById,
    UpsertByKey,
    UserFields,
)
from users.entity import (
    BLANK,
    Columns,
    Key,
    held_values,
    next_version_time,
    unique_values,
    with_columns,
)
from users.errors import ErrorCode, FieldViolation, RuleViolation, UserNotFound, VersionConflict
from users.former_ids import GivenUpId, given_up
from users.identity import UsernameEmails
from users.lifecycle import EVENT_OF, UserAction, next_status
from users.policy import OWN_SUBJECT
from users.recorder import RECORDED_FIELDS, Event, Recorder
from users.snapshot import Snapshot
from users.validation import ParseCache, ParsedCommand

_ERASED_COLUMNS: Final = (
    "display_name",
    "display_name_key",
    "external_id",
    "external_id_key",
    "status_reason",
    "erase_after",
)


class _ViolationsError(Exception):
    def __init__(self, violations: Sequence[RuleViolation]) -> None:
        self.violations = violations


class ChangeSet:
    """The rows and events to write. Users that are not inserted yet have negative ids.

    `subject` is the `sub` of the caller's token. The caller cannot restore a user who has it as
    their external id. `erasures` are for the ledger: the users of `erased`, and those who were
    erased before. The users of the snapshot must give up the `released` values.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        recorder: Recorder,
        subject: str | None = None,
        cache: ParseCache | None = None,
        username_emails: UsernameEmails = UsernameEmails.OWN,
        released: Iterable[Key] = (),
    ) -> None:
        self.snapshot = snapshot
        self.users = dict(snapshot.users)
        self.events: list[Event] = []
        self.drafts: list[User] = []
        self.erased: list[int] = []
        self.erasures: dict[int, User] = {}
        self.former: list[GivenUpId] = []
        self._recorder = recorder
        self._subject = subject
        self._cache = cache
        self._username_emails = username_emails
        self._new_ids = count(-1, -1)
        self._owners = dict(snapshot.holders)
        self._owners |= {
            key: user.id for user in snapshot.users.values() for key in held_values(user)
        }
        for key in released:
            del self._owners[key]
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
        # A unique value of these users goes to another user. They must release it first.
        for user in self.updated:
            before = held_values(self.snapshot.users[user.id])
            if any(self._owners.get(key, user.id) != user.id for key in before):
                yield user

    def apply(self, parsed: ParsedCommand, at: datetime) -> CommandResult:
        """Apply one command. If it violates rules, return all violations and change nothing."""
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
            *rules.taken(parsed.columns, self._owners),
            *self._username_emails_of(parsed.columns, None),
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
        user = User.having(BLANK | parsed.columns | birth)
        self._record(UserEventType.CREATED, None, user)
        return CommandResult(user, changed=True, created=True)

    def _update(self, parsed: ParsedCommand, user_id: int | None, at: datetime) -> CommandResult:
        user, violations = self._find(user_id, UserAction.UPDATE, parsed.expected_version)
        violations += [*parsed.violations, *rules.taken(parsed.columns, self._owners, user_id)]
        violations += self._username_emails_of(parsed.columns, user)
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
            raise _ViolationsError(
                rules.moved_to(error.violations, "id", f"by.{upsert.by}")
            ) from None

    def _upsert_by_key(
        self, parsed: ParsedCommand, upsert: UpsertByKey, at: datetime
    ) -> CommandResult:
        user_id = parsed.by and self._owners.get(parsed.by)
        if user_id is not None:
            if user_id not in self.users:
                raise UniquenessRace  # created between the lock and the read of the holders
            return self._update(parsed, user_id, at)
        if upsert.expected_version is not None:
            raise _ViolationsError(rules.NO_VERSION)
        whole = {"username": None, "email": None, upsert.by: upsert.value} | upsert.fields
        create = Create(fields=cast("UserFields", whole))
        try:
            return self._create(ParsedCommand.of(create, self._cache), create, at)
        except _ViolationsError as error:
            if upsert.by in upsert.fields:
                raise
            raise _ViolationsError(
                rules.moved_to(error.violations, upsert.by, f"by.{upsert.by}")
            ) from None

    def _transition(
        self, parsed: ParsedCommand, transition: Transition, at: datetime
    ) -> CommandResult:
        action = transition.action
        user, violations = self._find(transition.user_id, action, transition.expected_version)
        violations += parsed.violations
        if user is None or violations:
            raise _ViolationsError(violations)
        at = next_version_time(user, at)
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
        violations: list[RuleViolation] = [
            *rules.taken(dict(unique_values(user)), self._owners, user.id)
        ]
        if user.external_id is not None and user.external_id == self._subject:
            violations.append(replace(OWN_SUBJECT, field="id"))
        return violations

    def _erase(self, parsed: ParsedCommand, erase: Erase, at: datetime) -> CommandResult:
        user, violations = self._find(erase.user_id, UserAction.ERASE, erase.expected_version)
        violations += parsed.violations
        if user and not user.erased_at and (wrong := rules.confirmation_violation(erase, user)):
            violations.append(wrong)
        if user is None or violations:
            raise _ViolationsError(violations)
        self.erasures[user.id] = user
        if user.erased_at:
            return CommandResult(user)
        at = next_version_time(user, at)
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
        if transition := rules.invalid_transition(user, action):
            violations.append(transition)
        return user, violations

    def _conflict(self, user: User, expected: int) -> VersionConflict:
        changed = self._changes[user.id]
        ordered = [name for name in RECORDED_FIELDS.values() if changed.get(name, 0) > expected]
        return VersionConflict(user=user, expected=expected, changed_fields=ordered)

    def _username_emails_of(self, columns: Columns, user: User | None) -> list[FieldViolation]:
        return rules.username_email_violations(columns, user, self._username_emails, self._cache)

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
        times = {"version": user.version + 1, "updated_at": next_version_time(user, at)}
        written = with_columns(user, columns | times)
        self._record(EVENT_OF[action], user, written, reason)
        return CommandResult(written, changed=True)

    def _record(
        self, type: UserEventType, before: User | None, after: User, reason: str | None = None
    ) -> None:
        # An erasure records all external ids of the history instead (`former_ids.record_erased`).
        gone = None if type is UserEventType.ERASED else given_up(before, after)
        if gone is not None:
            self.former.append((after.id, gone, after.updated_at))
        event = self._recorder.event(type, before, after, reason)
        self.events.append(event)
        self.users[after.id] = after
        for change in event["changes"]:
            self._changes[after.id][change["field"]] = after.version
        for key in held_values(before) if before else ():
            if self._owners.get(key) == after.id:  # else it was released before
                del self._owners[key]
        self._owners |= dict.fromkeys(held_values(after), after.id)
        if after.id < 0:
            self.drafts.append(after)
