"""One write, one transaction: tried again where that helps, and answered in the schema's terms."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from db.outcome import Write
from db.time_slices import pause_if_due
from graph.api.context import GraphInfo, TimeLimit
from graph.api.errors import TimedOut, WriteFailed
from graph.api.inputs.user_lookup import read_order
from graph.api.types.user import User, UserEdge
from graph.api.types.user_error import UserError, user_errors
from users.commands import Answer, IdempotencyKey, Operation, Refused
from users.policy import refusal
from users.retry import stands_in_line, until_done
from users.service import MAX_OPERATIONS
from users.validation import parse_all

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from users.fields import Parsed

_DEFAULT_ORDER = read_order(None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: either the user after it, or the rules it broke.

    Without either it was only validated, or done to a user whom the caller may not read.
    """

    user: User | None = None
    edge: UserEdge | None = None
    changed: bool = False
    created: bool = False
    replayed: bool = False
    errors: list[UserError] = field(default_factory=list)


async def key_of_request(
    verb: str, given: "DataclassInstance", text: str | None
) -> IdempotencyKey | None:
    """Give the idempotency key of a mutation, with its input to the letter."""
    if text is None:
        return None
    members = [
        f"{_json(name)}: {await _json_in_slices(getattr(given, name))}"
        for name in sorted(declared.name for declared in fields(given))
    ]
    return IdempotencyKey(text=text, request=f"[{_json(verb)}, {{{', '.join(members)}}}]")


async def _json_in_slices(value: object) -> str:
    """Return the same JSON as `json.dumps` does."""
    if not isinstance(value, list):
        return _json(value)
    elements = []
    for element in value:
        await pause_if_due()
        elements.append(_json(element))
    return f"[{', '.join(elements)}]"


def _json(value: Any) -> str:
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, default=repr)


async def do(info: GraphInfo, operation: Operation, key: IdempotencyKey | None = None) -> Outcome:
    """Do one operation in one transaction."""
    try:
        answer = await carry_out(info, [operation], key=key)
    except Refused as refused:
        problems = [p for result in refused.results for p in result.problems]
        return Outcome(errors=user_errors([*problems, *refused.problems]))
    result = answer.results[0]
    user, edge = None, None
    if result.user:
        user = User.of(result.user)
        edge = UserEdge.of((result.user, _DEFAULT_ORDER))
    return Outcome(user, edge, result.changed, result.created, answer.replayed)


async def carry_out(
    info: GraphInfo,
    operations: Sequence[Operation],
    *,
    atomic: bool = True,
    key: IdempotencyKey | None = None,
) -> Answer:
    """Do operations in one transaction; again from the start where others were in its way.

    Raises `Refused` where nothing was done, `TimedOut` where the time of the request is over, and
    `WriteFailed` else.
    """
    context = info.context
    write = context.writes[str(info.path.key)] = Write()
    parsed: Parsed = {}

    async def attempt(number: int) -> Answer:
        first = number == 1 and len(operations) == 1
        if first and key is None and (answer := await context.at_once(operations[0], write)):
            return answer
        look = not first
        async with context.writing(write, in_line=stands_in_line(number)) as users:
            return await users.carry_out(
                operations, atomic=atomic, key=key, look=look, parsed=parsed
            )

    async def begin() -> Answer:
        if 1 < len(operations) <= MAX_OPERATIONS:
            # Before a transaction begins: it would keep other writers waiting.
            await parse_all([o for o in operations if not refusal(context.caller, o)], parsed)
        return await until_done(attempt, write)

    return await _in_time(context.limit, begin, write)


async def _in_time(
    limit: TimeLimit, begin: Callable[[], Awaitable[Answer]], write: Write
) -> Answer:
    """Write for as long as the request may take, and say what is known if that fails."""
    if limit.is_over():
        raise TimedOut(limit.seconds, write.outcome)
    timer = asyncio.timeout_at(limit.deadline)
    try:
        async with timer:
            return await begin()
    except (Refused, GraphQLError):
        raise
    except Exception as error:
        if timer.expired():
            raise TimedOut(limit.seconds, write.outcome) from None
        raise WriteFailed(write.outcome) from error
