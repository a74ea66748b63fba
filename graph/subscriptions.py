"""What can be followed live."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, cast

import strawberry

from db.filters import EventFilter
from db.models import UserStatus
from graph.context import Context, GraphInfo
from graph.cursor import MalformedCursor
from graph.errors import Forbidden, InputError, SignedOut
from graph.inputs.user_events import UserEventFilter
from graph.types.user_event import UserEvent, decode_cursor
from users import policy
from users.feed import Event
from users.service import now


class Upcoming:
    """Events on their way; each is made for the first who asks for it, and not for all."""

    __slots__ = ("ids", "rows")

    def __init__(self, rows: Sequence[Event]) -> None:
        self.rows = rows
        self.ids: tuple[int, ...] = tuple([row.id for row in rows])

    def make(self, row: Event) -> UserEvent:
        return UserEvent.of(row)


@strawberry.type(
    description="What can be followed live, over graphql-transport-ws or Server-Sent Events."
)
class Subscription:
    @strawberry.subscription(
        description="What happens to all users: every event exactly once and in the order of "
        "`userEvents`. Whoever comes back with the cursor of the last event they have had misses "
        "none. It ends with an error `UNAUTHENTICATED` when the caller's rights do."
    )
    def user_events(
        self,
        info: GraphInfo,
        after: Annotated[
            str | None,
            strawberry.argument(
                description="The cursor of any event, wherever it was read: what came after it is "
                "replayed first. Without it the feed begins with what happens from now on."
            ),
        ] = None,
        filter: Annotated[
            UserEventFilter | None, strawberry.argument(description="What the events have to be.")
        ] = None,
    ) -> AsyncGenerator[UserEvent, None]:
        if not policy.reads_history(info.context.caller):
            raise Forbidden("You may not read everybody's history.")
        wanted = filter.read() if filter else EventFilter()
        try:
            position = None if after is None else decode_cursor(after)
        except MalformedCursor as error:
            raise InputError(str(error), "INVALID_CURSOR") from None
        return _events(info, None if position is None else int(position[0]), wanted)


async def _events(
    info: GraphInfo, after: int | None, wanted: EventFilter
) -> AsyncGenerator[UserEvent, None]:
    """Give those of one moment at once: `Live` executes for each, and they are sent together."""
    context = info.context
    caller = context.caller
    with context.feed.watching(caller.user_id) as switched_off:
        status = await _status(context)
        async for rows in context.feed.follow(after, wanted):
            if (
                switched_off()
                or not policy.still(caller, now(), status)
                or not await context.is_still_let_in()
            ):
                raise SignedOut
            yield cast("UserEvent", Upcoming(rows))


async def _status(context: Context) -> UserStatus | None:
    """Give the status of the user who asks, as they begin; from then on the feed tells of it."""
    user_id = context.caller.user_id
    user = None if user_id is None else await context.users_by_id.load(user_id)
    return user and user.status
