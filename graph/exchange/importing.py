"""Imports users in batches. Each batch is one transaction."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from pydantic.alias_generators import to_camel

from db.engine import Database
from db.models import ActorKind, UserStatus
from db.outcome import Write
from graph.exchange.reading import Rejection, Row
from users.batches import batched
from users.commands import (
    MAX_COMMANDS,
    Command,
    CommandResult,
    CommandsRejected,
    StatusAction,
    Transition,
    UpsertByKey,
)
from users.identity import UsernameEmails
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.retry import must_queue, retry_transaction
from users.service import UserService
from users.validation import ParseCache

_IMPORT = Caller(Actor(ActorKind.SYSTEM, label="roster import"), EVERY_SCOPE)
_ACTIONS: dict[UserStatus, StatusAction] = {
    UserStatus.ACTIVE: UserAction.REACTIVATE,
    UserStatus.DEACTIVATED: UserAction.DEACTIVATE,
}


@dataclass
class Imported:
    """What became of the rows of a batch. `line` is the last one."""

    line: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejections: list[Rejection] = field(default_factory=list)


class _DryRun(Exception):
    """Rolls back a batch."""

    def __init__(self, imported: Imported) -> None:
        super().__init__()
        self.imported = imported


async def import_users(
    database: Database,
    rows: Iterable[Row],
    *,
    username_emails: UsernameEmails = UsernameEmails.OWN,
    dry_run: bool = False,
) -> AsyncIterator[Imported]:
    """Create or update the user with each external id. Yields the result of each batch.

    A row that violates a rule is rejected, and the others are imported. With `dry_run` each batch
    is rolled back, so that conflicts between two batches are not found.
    """
    for batch in batched(rows, MAX_COMMANDS):
        yield await _import(database, batch, username_emails, dry_run=dry_run)
        if not dry_run:
            await database.notify()


async def _import(
    database: Database, batch: Sequence[Row], username_emails: UsernameEmails, *, dry_run: bool
) -> Imported:
    write = Write()
    cache: ParseCache = {}

    async def attempt(number: int) -> Imported:
        async with (
            database.session() as session,
            session.transaction(queued=must_queue(number), write=write),
        ):
            service = UserService(session, _IMPORT, username_emails=username_emails)
            imported = await _write(service, batch, cache)
            if dry_run:
                raise _DryRun(imported)
            return imported

    try:
        return await retry_transaction(attempt, write)
    except _DryRun as done:
        return done.imported
    except CommandsRejected as rejected:
        return _counted(batch, rejected.results)


async def _write(service: UserService, batch: Sequence[Row], cache: ParseCache) -> Imported:
    commands = [
        UpsertByKey(by="external_id", value=row.user.external_id, fields=row.user.fields)
        for row in batch
    ]
    answer = await service.execute(commands, atomic=False, cache=cache, hand_over=True)
    results = answer.results
    transitions = _transitions(batch, results)
    if not transitions:
        return _counted(batch, results)
    answer = await service.execute(list(transitions.values()), cache=cache)
    changed = dict(zip(transitions, answer.results, strict=True))
    return _counted(batch, results, changed)


def _transitions(batch: Sequence[Row], results: Sequence[CommandResult]) -> dict[int, Command]:
    """Return what gives each user the status of their row, by the position of the row."""
    found: dict[int, Command] = {}
    for position, (row, result) in enumerate(zip(batch, results, strict=True)):
        user, status = result.user, row.user.status
        if user is not None and status is not None and user.status is not status:
            found[position] = Transition(
                action=_ACTIONS[status], user_id=user.id, reason=row.user.status_reason
            )
    return found


def _counted(
    batch: Sequence[Row],
    results: Sequence[CommandResult],
    changed: dict[int, CommandResult] | None = None,
) -> Imported:
    imported = Imported(batch[-1].line)
    for position, (row, result) in enumerate(zip(batch, results, strict=True)):
        if result.violations:
            imported.rejections += [
                Rejection(
                    row.line, to_camel(violation.field.removeprefix("by.")), violation.message
                )
                for violation in result.violations
            ]
        elif result.created:
            imported.created += 1
        elif result.changed or position in (changed or {}):
            imported.updated += 1
        else:
            imported.unchanged += 1
    return imported
