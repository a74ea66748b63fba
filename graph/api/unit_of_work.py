"""Execution of commands for a mutation field: one transaction, retried after conflicts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from graphql import GraphQLError

from db.erasure_ledger.entries import LedgerError
from db.outcome import Write
from graph.api.context import Context, GraphInfo, TimeLimit
from graph.api.errors import ErasureLedgerError, WriteError, WriteTimeoutError
from graph.api.ordering import DEFAULT_ORDER
from graph.api.types.user import User, UserEdge
from graph.api.types.user_error import UserError, user_errors
from users.commands import (
    MAX_COMMANDS,
    Command,
    CommandResult,
    CommandResults,
    CommandsRejected,
    IdempotencyKey,
)
from users.errors import RuleViolation
from users.policy import authorize
from users.retry import must_queue, retry_transaction
from users.service import UserService
from users.validation import parse_commands

if TYPE_CHECKING:
    from users.validation import ParseCache


log = structlog.get_logger("roster")


@dataclass(frozen=True, slots=True)
class MutationResult:
    """The result of a command: the user after it, or the rules that it violates.

    It has neither if the command was only validated, or if the caller may not read the user.
    """

    user: User | None = None
    edge: UserEdge | None = None
    changed: bool = False
    created: bool = False
    replayed: bool = False
    errors: list[UserError] = field(default_factory=list)


async def run_command(
    info: GraphInfo, command: Command, key: IdempotencyKey | None = None
) -> MutationResult:
    try:
        answer = await execute(info, [command], key=key)
    except CommandsRejected as rejection:
        violations = [p for result in rejection.results for p in result.violations]
        return MutationResult(errors=user_errors([*violations, *rejection.violations]))
    result = answer.results[0]
    return MutationResult(*user_and_edge(result), result.changed, result.created, answer.replayed)


def user_and_edge(result: CommandResult) -> tuple[User | None, UserEdge | None]:
    if result.user is None:
        return None, None
    return User.of(result.user), UserEdge.of((result.user, DEFAULT_ORDER))


async def execute(
    info: GraphInfo,
    commands: Sequence[Command],
    *,
    atomic: bool = True,
    key: IdempotencyKey | None = None,
) -> CommandResults:
    """Execute commands in one transaction, which is retried after a conflict.

    Raises CommandsRejected if nothing was done, WriteTimeoutError if the request's time is over,
    ErasureLedgerError if an erasure could not be recorded, and WriteError otherwise.
    """
    context = info.context
    write = context.writes[str(info.path.key)] = Write()
    cache: ParseCache = {}

    users = UserService(
        context.session,
        context.caller,
        context.request_id,
        username_emails=context.username_emails,
    )

    async def attempt(number: int) -> CommandResults:
        if number > 1 and context.observed:
            context.observed.retries += 1
        first = number == 1 and len(commands) == 1
        if first and key is None and (answer := await users.insert(commands[0], write)):
            return answer
        check_taken = not first
        async with context.session.transaction(queued=must_queue(number), write=write):
            return await users.execute(
                commands, atomic=atomic, key=key, check_taken=check_taken, cache=cache
            )

    async def begin() -> CommandResults:
        if 1 < len(commands) <= MAX_COMMANDS:
            # Parsing comes before the transaction, which blocks other writers.
            await parse_commands([o for o in commands if not authorize(context.caller, o)], cache)
        answer = await retry_transaction(attempt, write)
        context.feed.wake()
        return answer

    try:
        answer = await _in_time(context.limit, begin, write)
    except CommandsRejected as rejection:
        _report(context, rejection.results, rejection.violations)
        raise
    _report(context, answer.results, replayed=answer.replayed)
    return answer


def _report(
    context: Context,
    results: Sequence[CommandResult],
    violations: Sequence[RuleViolation] = (),
    *,
    replayed: bool = False,
) -> None:
    observed = context.observed
    if observed:
        observed.replays += replayed
        observed.add_errors(violation.code for violation in violations)
        observed.add_errors(each.code for result in results for each in result.violations)


async def _in_time(
    limit: TimeLimit, begin: Callable[[], Awaitable[CommandResults]], write: Write
) -> CommandResults:
    """Run `begin` within the time limit. An error has the outcome of the write."""
    if limit.is_over():
        raise WriteTimeoutError(limit.seconds, write.outcome)
    timer = asyncio.timeout_at(limit.deadline)
    try:
        async with timer:
            return await begin()
    except (CommandsRejected, GraphQLError):
        raise
    except LedgerError as error:
        outcome = str(write.outcome)
        log.error("erasure ledger unavailable", cause=str(error), outcome=outcome)  # noqa: TRY400 - no bug
        raise ErasureLedgerError(write.outcome) from None
    except Exception as error:
        if timer.expired():
            raise WriteTimeoutError(limit.seconds, write.outcome) from None
        raise WriteError(write.outcome) from error
