"""One write, one transaction: tried again where that helps, and answered in the schema's terms."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from db.engine import is_passing
from graph.context import Context, GraphInfo
from graph.inputs.users import read_order
from graph.types.user import User, UserEdge
from graph.types.user_error import UserError, user_errors
from users.operations import Operation, Overtaken, Refused, Result

_ATTEMPTS = 5
_DEFAULT_ORDER = read_order(None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: either the user after it, or the rules it broke."""

    user: User | None = None
    edge: UserEdge | None = None
    changed: bool = False
    created: bool = False
    errors: list[UserError] = field(default_factory=list)

    @classmethod
    def of(cls, result: Result) -> "Outcome":
        if result.user is None:
            return cls(errors=user_errors(result.problems))
        user = User.of(result.user)
        edge = UserEdge(cursor=_DEFAULT_ORDER.cursor(result.user), node=user)
        return cls(user, edge, result.changed, result.created)


async def attempt(info: GraphInfo, operation: Operation) -> Outcome:
    """Do one operation in one transaction."""
    return Outcome.of((await _carry_out(info.context, [operation]))[0])


async def _carry_out(context: Context, operations: Sequence[Operation]) -> Sequence[Result]:
    """Do operations in one transaction; again from the start where others were in its way."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            async with context.writing() as users:
                return await users.carry_out(operations, look=number > 1)
        except Refused as refused:
            return refused.results
        except Overtaken:
            if number == _ATTEMPTS:
                raise
        except DBAPIError as error:
            if number == _ATTEMPTS or not is_passing(error):
                raise
    raise AssertionError
