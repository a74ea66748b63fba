"""The creation of one user, written with its event by one statement that is a whole transaction.

It is for what is decided before anything is read: who asks is no user of the directory who could be
switched off meanwhile, no key is claimed, and no rule is broken. All else is the service's.
"""

from collections.abc import Callable
from datetime import datetime

from db.engine import Database
from db.statements import ADD_USER_WITH_EVENT
from users.events import Recorder
from users.operations import Answer, Create, Operation, Overtaken
from users.plan import Plan, Stock, row_of
from users.policy import Caller, refusal, shown
from users.request import Request
from users.service import now


async def add_at_once(
    database: Database,
    caller: Caller,
    operation: Operation,
    request_id: str | None = None,
    clock: Callable[[], datetime] = now,
) -> Answer | None:
    """Create the user; None, with nothing done, where that takes the service or is refused.

    Raises `Overtaken`, with nothing done, where a unique value is taken.
    """
    if not database.writes_at_once or not isinstance(operation, Create) or operation.validate_only:
        return None
    if caller.user_id is not None or refusal(caller, operation):
        return None
    plan = Plan(Stock({}), Recorder(caller.actor, request_id))
    result = plan.do(Request.of(operation), clock())
    if result.user is None:
        return None
    [event] = plan.events
    of_event = {f"event_{name}": value for name, value in event.items()}
    rows = await database.write_at_once(ADD_USER_WITH_EVENT, {**row_of(result.user), **of_event})
    if not rows:
        raise Overtaken
    result.user.id = rows[0]["user_id"]
    return Answer([shown(caller, result)])
