"""The creation of one user, written with its event in one round trip that is a whole transaction.

It is for what is decided before anything is read: who asks is no user of the directory who could be
switched off meanwhile, no key is claimed, and no rule is broken. All else is the service's.
"""

from collections.abc import Callable
from datetime import datetime

from db.engine import Database
from db.outcome import Write
from users.changeset import Plan, Stock, row_of
from users.commands import Answer, Create, Operation, Overtaken
from users.identity import UsernameEmails
from users.policy import Caller, refusal, shown
from users.recorder import Recorder
from users.service import now
from users.validation import Request


async def add_at_once(
    database: Database,
    caller: Caller,
    operation: Operation,
    request_id: str | None = None,
    write: Write | None = None,
    clock: Callable[[], datetime] = now,
    username_emails: UsernameEmails = UsernameEmails.OWN,
) -> Answer | None:
    """Create the user; None, with nothing done, where that takes the service or is refused.

    Raises `Overtaken`, with nothing done, where a unique value is taken.
    """
    if not isinstance(operation, Create) or operation.validate_only:
        return None
    if caller.user_id is not None or refusal(caller, operation):
        return None
    recorder = Recorder(caller.actor, request_id)
    plan = Plan(Stock({}), recorder, username_emails=username_emails)
    result = plan.do(Request.of(operation), clock())
    if result.user is None:
        return None
    [event] = plan.events
    user_id = await database.add(row_of(result.user), event, write)
    if user_id is None:
        raise Overtaken
    result.user.id = user_id
    return Answer([shown(caller, result)])
