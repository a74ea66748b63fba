"""One write, one transaction: tried again where that helps, and answered in the schema's terms."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from db.engine import is_passing
from graph.context import GraphInfo
from graph.inputs.users import read_order
from graph.types.user import User, UserEdge
from graph.types.user_error import UserError, user_errors
from users.errors import Refused
from users.service import UserService, Written

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


class _Validated(Exception):
    """The write went through, and is to be rolled back: only its errors were asked for."""


async def attempt(
    info: GraphInfo,
    verb: Callable[[UserService], Awaitable[Written]],
    *,
    validate_only: bool = False,
) -> Outcome:
    """Do one verb in one transaction; again from the start where others were in its way."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            async with info.context.writing() as users:
                written = await verb(users)
                if validate_only:
                    raise _Validated  # noqa: TRY301 - it is what rolls back
            break
        except _Validated:
            return Outcome()
        except Refused as refused:
            return Outcome(errors=user_errors(refused.problems))
        except DBAPIError as error:
            if number == _ATTEMPTS or not is_passing(error):
                raise
    user = User.of(written.user)
    edge = UserEdge(cursor=_DEFAULT_ORDER.cursor(written.user), node=user)
    return Outcome(user, edge, written.changed, written.created)
