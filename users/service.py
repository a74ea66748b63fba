"""The one way into the directory: operations are checked, planned, and written with their events.

One operation is a batch of one. Either costs the same few statements: one locks the users that
are named, one looks for taken values, and one each inserts users, updates users and adds events.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from db.errors import is_unique_violation
from db.models import ActorKind, User
from db.outcome import Write
from db.session import Session
from db.statements import (
    ADD_EVENTS,
    ADD_USERS,
    FREE_KEYS,
    REATTRIBUTE_EVENTS,
    REDACT_EVENTS,
    UPDATE_USERS,
    fields_changed_since,
    forget_actors,
    key_holders,
    traces_of,
    users_to_hold,
    users_to_write,
)
from db.time_slices import partitions, pause_if_due
from users import former_ids
from users.changeset import NO_VERSION, ChangeSet, Snapshot, kept, row_of
from users.clock import now
from users.commands import (
    Command,
    CommandResult,
    CommandResults,
    CommandsRejected,
    Create,
    IdempotencyKey,
    Transition,
    UniquenessRace,
)
from users.errors import ErrorCode, GeneralViolation, RuleViolation, VersionConflict
from users.fields import ParseCache
from users.idempotency import Claim, key_problems
from users.identity import UsernameEmails
from users.lifecycle import UserAction
from users.policy import NOT_ACTIVE, Caller, authorize, can_write, redact_result
from users.recorder import Recorder, redacted
from users.validation import KEY_COLUMNS, Key, ParsedCommand, parse_commands

MAX_OPERATIONS: Final = 500


@dataclass(frozen=True, slots=True)
class UserService:
    """The directory, on behalf of one caller; `execute` needs a transaction, which it never ends.

    An operation that names the version it has seen is refused where there is another by now;
    without it, writers of different fields both keep their change.
    """

    session: Session
    caller: Caller
    request_id: str | None = None
    clock: Callable[[], datetime] = now
    username_emails: UsernameEmails = UsernameEmails.OWN

    async def insert(self, command: Command, write: Write) -> CommandResults | None:
        """Create a user and their event in one statement, outside of a transaction.

        That is possible if nothing has to be read first: the caller is no user of the directory who
        could be switched off meanwhile, and no rule is broken. Otherwise returns None, and nothing
        is done. Raises `UniquenessRace`, with nothing done, if a unique value is taken.
        """
        if not isinstance(command, Create) or command.validate_only:
            return None
        if self.caller.user_id is not None or authorize(self.caller, command):
            return None
        change_set = self._change_set(Snapshot({}), {})
        result = change_set.apply(ParsedCommand.of(command), self.clock())
        if result.user is None:
            return None
        [event] = change_set.events
        user_id = await self.session.insert_user(row_of(result.user), event, write)
        if user_id is None:
            raise UniquenessRace
        result.user.id = user_id
        return CommandResults([redact_result(self.caller, result)])

    async def execute(
        self,
        commands: Sequence[Command],
        *,
        atomic: bool = True,
        key: IdempotencyKey | None = None,
        check_taken: bool = True,
        cache: ParseCache | None = None,
    ) -> CommandResults:
        """Execute commands in order, each on the result of those before it.

        Raises CommandsRejected if all are rejected, or with `atomic` if any is. Raises
        UniquenessRace if a unique value was taken after it was checked. The caller rolls back in
        both cases, and after a race tries again with `check_taken`. Without it only the unique
        indexes decide, which saves a statement if the values are free.

        A `key` makes the commands idempotent: for 24 hours its caller gets the first answer again,
        with the users as they were then. A rejection is not stored.

        Commands that the caller is not authorized for are rejected before anything is read. If the
        caller is a user who is not active when they are locked, all are.
        """
        cache = {} if cache is None else cache
        if len(commands) > MAX_OPERATIONS:
            raise CommandsRejected(violations=[_too_many(commands)])
        denied = [authorize(self.caller, command) for command in commands]
        if denied and all(denied):
            raise CommandsRejected(_merge_results(denied, []))
        allowed = [o for o, no in zip(commands, denied, strict=True) if no is None]
        batch = await parse_commands(allowed, cache)
        violations = key_problems(key)
        claim = None
        if key and not violations and _needs_claim(batch, hopeless=atomic and any(denied)):
            claim = Claim.of(self.session, self.caller.actor, key)
            if (earlier := await claim.take(self.clock())) is not None:
                return await self._replay(earlier, denied)
        change_set, computed = await self._compute(batch, cache, check_taken=check_taken)
        results = _merge_results(denied, computed)
        refused = [bool(result.violations) for result in results]
        if violations or (refused and (all(refused) or (atomic and any(refused)))):
            raise CommandsRejected(
                [redact_result(self.caller, r) for r in _hide_uncreated(results)], violations
            )
        await self._write(change_set)
        if claim:
            await claim.keep(results)
        return CommandResults([redact_result(self.caller, result) for result in results])

    async def _replay(
        self, earlier: Sequence[CommandResult], denied: Sequence[RuleViolation | None]
    ) -> CommandResults:
        """Answer as before, less what the caller may no longer do."""
        snapshot = await self._lock([])
        if not self._is_caller_active(snapshot):
            raise CommandsRejected([_denied(NOT_ACTIVE)] * len(earlier))
        told = zip(earlier, denied, strict=True)
        results = [before if no is None else _denied(no) for before, no in told]
        return CommandResults(
            [redact_result(self.caller, result) for result in results], replayed=True
        )

    async def _compute(
        self, batch: Sequence[ParsedCommand], cache: ParseCache, *, check_taken: bool
    ) -> tuple[ChangeSet, Sequence[CommandResult]]:
        snapshot = await self._lock(batch)
        if not self._is_caller_active(snapshot):
            return self._change_set(Snapshot({}), cache), [_denied(NOT_ACTIVE)] * len(batch)
        moments = [self.clock() for _ in batch]
        check_taken = check_taken or any(parsed.validate_only for parsed in batch)
        while True:
            if check_taken:
                snapshot = replace(snapshot, holders=await self._find_holders(batch, snapshot))
            change_set = self._change_set(snapshot, cache)
            results = []
            for asked in zip(batch, moments, strict=True):
                await pause_if_due()
                results.append(change_set.apply(*asked))
            if check_taken or not any(result.violations for result in results):
                return change_set, results
            check_taken = True  # to name what is taken beside the other problems

    def _change_set(self, snapshot: Snapshot, cache: ParseCache) -> ChangeSet:
        recorder = Recorder(self.caller.actor, self.request_id)
        return ChangeSet(snapshot, recorder, self.caller.subject, cache, self.username_emails)

    def _is_caller_active(self, snapshot: Snapshot) -> bool:
        user = snapshot.users.get(self.caller.user_id or 0)
        return can_write(self.caller, user.status if user else None)

    async def _lock(self, batch: Sequence[ParsedCommand]) -> Snapshot:
        """Lock and read the users that the requests name, by id or by a unique value.

        And the user who asks: nobody can take away their right until what they did is committed.
        All in one statement, in the order of ids: who is named and who asks never wait crosswise.
        """
        own = set() if self.caller.user_id is None else {self.caller.user_id}
        ids = {parsed.user_id for parsed in batch if parsed.user_id is not None}
        keys = [parsed.by for parsed in batch if parsed.by is not None]
        if not ids and not keys:
            if not own:
                return Snapshot({})
            held = await self.session.execute(users_to_hold(own))
            return Snapshot({row.id: User.of(row) for row in held})
        found = await self.session.execute(users_to_write(ids | own, _group_by_column(keys)))
        users = {row.id: User.of(row) for row in found}
        return Snapshot(users, changes=await self._changes_since(batch, users))

    async def _changes_since(
        self, batch: Sequence[ParsedCommand], users: dict[int, User]
    ) -> dict[int, dict[str, int]]:
        """Read which fields were changed since the versions that the requests have seen."""
        seen = [version for r in batch if (version := r.expected_version) is not None]
        first = min(seen, default=None)
        if first is None:
            return {}
        changes: dict[int, dict[str, int]] = {
            user.id: {} for user in users.values() if user.version > first
        }
        if changes:
            for row in await self.session.execute(fields_changed_since(changes, first)):
                changes[row.user_id][row.field] = row.version
        return changes

    async def _find_holders(
        self, batch: Sequence[ParsedCommand], snapshot: Snapshot
    ) -> dict[Key, int]:
        """Find out who holds the unique values that the requests want to give."""
        wanted: set[Key] = set()
        for parsed in batch:
            columns = ((c, parsed.columns.get(c)) for c in KEY_COLUMNS.values())
            wanted |= {(column, value) for column, value in columns if value is not None}
            wanted |= {parsed.by} if parsed.by else set()
            match parsed.command:
                case Transition(action=UserAction.RESTORE, user_id=int(user_id)):
                    wanted |= (
                        set(kept(snapshot.users[user_id])) if user_id in snapshot.users else set()
                    )
        if not wanted:
            return {}
        await pause_if_due()
        found = await self.session.execute(key_holders(_group_by_column(wanted)))
        return {
            (column, value): row.id
            for row in found
            for column in KEY_COLUMNS.values()
            if (value := row._mapping[column]) is not None  # noqa: SLF001 - its public name
        }

    async def _write(self, change_set: ChangeSet) -> None:
        await pause_if_due()
        try:
            if vacating := [
                {"row_id": user.id, "nobody": f" {user.id}"} for user in change_set.vacating()
            ]:
                await self.session.execute(FREE_KEYS, vacating)
            if updated := [row_of(user) | {"row_id": user.id} for user in change_set.updated]:
                await self.session.execute(UPDATE_USERS, updated)
        except IntegrityError as error:
            if is_unique_violation(error):
                raise UniquenessRace from None
            raise
        await self._insert(change_set)
        if change_set.former:
            await former_ids.record(self.session, change_set.former)
        if change_set.erased:
            await self._redact(change_set)
        if change_set.events:
            await pause_if_due()
            await self.session.execute(ADD_EVENTS, change_set.events)

    async def _insert(self, change_set: ChangeSet) -> None:
        """Insert the new users, and give them the ids that the database chose."""
        if not change_set.created:
            return
        await pause_if_due()
        added = await self.session.execute(ADD_USERS, [row_of(user) for user in change_set.created])
        ids = {row.username_key: row.id for row in added}
        if len(ids) < len(change_set.created):
            raise UniquenessRace
        new_ids = {user.id: ids[user.username_key] for user in change_set.created}
        for user in change_set.drafts:
            user.id = new_ids[user.id]
        for event in change_set.events:
            event["user_id"] = new_ids.get(event["user_id"], event["user_id"])
        change_set.former = [
            (new_ids.get(user_id, user_id), *rest) for user_id, *rest in change_set.former
        ]

    async def _redact(self, change_set: ChangeSet) -> None:
        """Take what is personal out of the histories of users, and their names as actors."""
        ids = set(change_set.erased)
        at = change_set.users[change_set.erased[0]].updated_at
        users = [
            change_set.snapshot.users[user_id] for user_id in ids & change_set.snapshot.users.keys()
        ]
        subjects = await former_ids.close(self.session, users, at)
        async for rows in partitions(await self.session.execute(traces_of(ids, subjects))):
            if acted := list(_acted_as_service(rows, subjects)):
                await self.session.execute(REATTRIBUTE_EVENTS, acted)
            theirs = [row for row in rows if row.user_id in ids]
            if events := [{"row_id": row.id, "kept": redacted(row.changes)} for row in theirs]:
                await self.session.execute(REDACT_EVENTS, events)
        await self.session.execute(forget_actors(ids))


def _acted_as_service(
    events: Iterable[Row[Any]], subjects: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Find what was done by services whose subject was an external id: subject -> user.

    The token was used before the user had the id, or, with an earlier version, after a deletion.
    The user takes the place of the subject, which is as personal as their name.
    """
    for event in events:
        if event.actor_kind is ActorKind.SERVICE and event.actor_id in subjects:
            yield {"row_id": event.id, "user": str(subjects[event.actor_id])}


def _hide_uncreated(results: Sequence[CommandResult]) -> list[CommandResult]:
    """Name no user whom the batch would have created: now that it is refused, there is none."""
    return [
        replace(result, user=None, violations=NO_VERSION)
        if any(isinstance(p, VersionConflict) and p.user.id < 0 for p in result.violations)
        else result
        for result in results
    ]


def _needs_claim(batch: Sequence[ParsedCommand], *, hopeless: bool) -> bool:
    """Tell whether there can be an answer to keep."""
    return not hopeless and not all(parsed.validate_only for parsed in batch)


def _merge_results(
    denied: Sequence[RuleViolation | None], computed: Sequence[CommandResult]
) -> list[CommandResult]:
    """Put what was planned into its places, between what the caller may not do."""
    rest = iter(computed)
    return [next(rest) if violation is None else _denied(violation) for violation in denied]


def _denied(violation: RuleViolation) -> CommandResult:
    return CommandResult(violations=[violation])


def _too_many(commands: Sequence[Command]) -> GeneralViolation:
    message = f"A batch can have {MAX_OPERATIONS} operations; this one has {len(commands)}."
    return GeneralViolation(code=ErrorCode.LIMIT_EXCEEDED, message=message, field="operations")


def _group_by_column(keys: Iterable[Key]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for column, value in keys:
        values.setdefault(column, []).append(value)
    return values
