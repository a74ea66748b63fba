"""Executes a caller's commands: authorizes, validates and applies them, and writes the result.

A single command is a batch of one. A batch takes a fixed number of statements: one locks the named
users, one finds taken values, and one each inserts users, updates users and adds events.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from db.outcome import Write
from db.session import Session
from db.time_slices import pause_if_due
from users import erasures
from users.changeset import ChangeSet
from users.clock import now
from users.commands import (
    MAX_COMMANDS,
    Command,
    CommandResult,
    CommandResults,
    CommandsRejected,
    Create,
    Erase,
    IdempotencyKey,
    UniquenessRace,
)
from users.entity import Key, row_of
from users.errors import (
    ErrorCode,
    GeneralViolation,
    InvalidTransition,
    RuleViolation,
    UndoneVersionConflict,
    VersionConflict,
)
from users.handovers import Handovers
from users.idempotency import Claim, key_violations
from users.identity import UsernameEmails
from users.policy import NOT_ACTIVE, Caller, authorize, can_write, redact_result
from users.recorder import Recorder
from users.rules import NO_VERSION
from users.snapshot import Snapshot, find_holders, load_snapshot
from users.validation import ParseCache, ParsedCommand, parse_commands
from users.writer import write


@dataclass(frozen=True, slots=True)
class UserService:
    """The directory on behalf of one caller. `execute` needs an open transaction and never ends it.

    A command with an expected version is rejected if the user has another version. Without it the
    last writer wins per field, so that concurrent writes to different fields are both kept.
    """

    session: Session
    caller: Caller
    request_id: str | None = None
    clock: Callable[[], datetime] = now
    username_emails: UsernameEmails = UsernameEmails.OWN

    async def insert(self, command: Command, write: Write) -> CommandResults | None:
        """Create a user and their event in one statement, outside of a transaction.

        Returns None if other reads are necessary or a rule is violated. Raises UniquenessRace if a
        unique value is taken. In both cases nothing is done.
        """
        if not isinstance(command, Create) or command.validate_only:
            return None
        # A caller who is a user can be deactivated concurrently, so `execute` locks them.
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
        hand_over: bool = False,
    ) -> CommandResults:
        """Execute commands in order, each on the result of the previous ones.

        With `hand_over` they can also take unique values of users that later upserts by a key
        replace, so that two users can exchange theirs. It requires `check_taken`.

        Raises CommandsRejected if all commands are rejected, or with `atomic` if any is. Raises
        UniquenessRace if a unique value is taken concurrently. The caller must roll back in both
        cases, and retries after a race with `check_taken`. Without `check_taken` only the unique
        indexes detect taken values. This saves a statement if the values are free.

        A `key` makes the commands idempotent: for 24 hours, a repeated request returns the first
        answer, with the users as they were then. A rejection is not stored.

        Unauthorized commands are rejected before the database is read. If the caller is a user and
        not active when locked, all commands are rejected.
        """
        cache = {} if cache is None else cache
        if len(commands) > MAX_COMMANDS:
            raise CommandsRejected(violations=[_too_many(commands)])
        denied = [authorize(self.caller, command) for command in commands]
        if denied and all(denied):
            raise CommandsRejected(_merge_results(denied, []))
        allowed = [o for o, no in zip(commands, denied, strict=True) if no is None]
        batch = await parse_commands(allowed, cache)
        violations = key_violations(key)
        claim = None
        if key and not violations and _needs_claim(batch, hopeless=atomic and any(denied)):
            claim = Claim.of(self.session, self.caller.actor, key)
            if (earlier := await claim.take(self.clock())) is not None:
                return await self._replay(commands, earlier, denied)
        change_set, computed = await self._compute(
            batch, cache, check_taken=check_taken, hand_over=hand_over
        )
        results = _merge_results(denied, computed)
        rejected = [bool(result.violations) for result in results]
        if violations or (rejected and (all(rejected) or (atomic and any(rejected)))):
            undone = [_without_undone(result, change_set.snapshot) for result in results]
            raise CommandsRejected([redact_result(self.caller, r) for r in undone], violations)
        await write(self.session, change_set)
        if claim:
            await claim.keep(results)
        return CommandResults([redact_result(self.caller, result) for result in results])

    async def _replay(
        self,
        commands: Sequence[Command],
        earlier: Sequence[CommandResult],
        denied: Sequence[RuleViolation | None],
    ) -> CommandResults:
        """Return the stored results, except for commands that are no longer authorized."""
        snapshot = await load_snapshot(self.session, [], self.caller.user_id)
        if not self._is_caller_active(snapshot):
            raise CommandsRejected([_rejection(NOT_ACTIVE)] * len(earlier))
        replayed = zip(earlier, denied, strict=True)
        results = [before if no is None else _rejection(no) for before, no in replayed]
        done = zip(commands, results, strict=True)
        users = [result.user for command, result in done if isinstance(command, Erase)]
        # The first answer may have been that the ledger failed.
        erasures.record(self.session, [user for user in users if user and user.erased_at])
        return CommandResults(
            [redact_result(self.caller, result) for result in results], replayed=True
        )

    async def _compute(
        self,
        batch: Sequence[ParsedCommand],
        cache: ParseCache,
        *,
        check_taken: bool,
        hand_over: bool,
    ) -> tuple[ChangeSet, Sequence[CommandResult]]:
        snapshot = await load_snapshot(self.session, batch, self.caller.user_id)
        if not self._is_caller_active(snapshot):
            return self._change_set(Snapshot({}), cache), [_rejection(NOT_ACTIVE)] * len(batch)
        handovers = Handovers(batch, snapshot) if hand_over else None
        moments = [self.clock() for _ in batch]
        check_taken = check_taken or any(parsed.validate_only for parsed in batch)
        has_holders = False
        while True:
            if check_taken and not has_holders:
                holders = await find_holders(self.session, batch, snapshot)
                snapshot, has_holders = replace(snapshot, holders=holders), True
            released: Iterable[Key] = handovers.released if handovers else ()
            change_set = self._change_set(snapshot, cache, released)
            results = []
            for asked in zip(batch, moments, strict=True):
                await pause_if_due()
                results.append(change_set.apply(*asked))
            rejected = [number for number, result in enumerate(results) if result.violations]
            if handovers and handovers.revoke(rejected):
                continue
            if check_taken or not rejected:
                return change_set, results
            check_taken = True  # to report taken values together with the other violations

    def _change_set(
        self, snapshot: Snapshot, cache: ParseCache, released: Iterable[Key] = ()
    ) -> ChangeSet:
        recorder = Recorder(self.caller.actor, self.request_id)
        return ChangeSet(
            snapshot, recorder, self.caller.subject, cache, self.username_emails, released
        )

    def _is_caller_active(self, snapshot: Snapshot) -> bool:
        user = snapshot.users.get(self.caller.user_id or 0)
        return can_write(self.caller, user.status if user else None)


def _without_undone(result: CommandResult, snapshot: Snapshot) -> CommandResult:
    """Replace users whose state exists only within the rejected batch by the stored ones."""
    if any(isinstance(p, VersionConflict) and p.user.id < 0 for p in result.violations):
        return replace(result, user=None, violations=NO_VERSION)
    violations = [_with_stored_user(p, snapshot) for p in result.violations]
    return replace(result, violations=violations)


def _with_stored_user(violation: RuleViolation, snapshot: Snapshot) -> RuleViolation:
    match violation:
        case InvalidTransition(user=user):
            return replace(violation, user=snapshot.users[user.id])
        case VersionConflict(user=user) if user is not snapshot.users[user.id]:
            return UndoneVersionConflict(
                user=snapshot.users[user.id],
                expected=violation.expected,
                changed_fields=violation.changed_fields,
                field=violation.field,
                actual=user.version,
            )
    return violation


def _needs_claim(batch: Sequence[ParsedCommand], *, hopeless: bool) -> bool:
    # Rejected and validate-only batches have no answer to store.
    return not hopeless and not all(parsed.validate_only for parsed in batch)


def _merge_results(
    denied: Sequence[RuleViolation | None], computed: Sequence[CommandResult]
) -> list[CommandResult]:
    """Restore the order of the commands. `computed` has no entries for denied commands."""
    rest = iter(computed)
    return [next(rest) if violation is None else _rejection(violation) for violation in denied]


def _rejection(violation: RuleViolation) -> CommandResult:
    return CommandResult(violations=[violation])


def _too_many(commands: Sequence[Command]) -> GeneralViolation:
    message = f"A batch can have {MAX_COMMANDS} operations; this one has {len(commands)}."
    return GeneralViolation(code=ErrorCode.LIMIT_EXCEEDED, message=message, field="operations")
