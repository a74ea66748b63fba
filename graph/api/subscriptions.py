"""The subscriptions."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, cast

import strawberry
from graphql import GraphQLError, located_error

from db.filters import EventFilter
from db.statements.users import USERS_BY_ID
from feed.anchors import Anchor, InvalidAnchor
from feed.reader import Event
from feed.subscription import FeedPosition
from graph.api.context import Context, GraphInfo
from graph.api.errors import ForbiddenError, InputError, SessionEnded, UnknownCursorError
from graph.api.field_costs import ROOT_FIELD
from graph.api.inputs.user_events import UserEventFilter
from graph.api.loaders import Loader
from graph.api.types.enums import UserStatus
from graph.api.types.user_event import UserEvent, decode_cursor
from graph.strawberry_adapter import raw_info
from users import policy
from users.clock import now

Locate = Callable[[GraphQLError], GraphQLError]
Meanwhile = Callable[["EventSubscription", FeedPosition], Awaitable[None]]


class EventSubscription:
    """The source of a subscription: settled events, in batches.

    `ResultStreams` executes the operation for them. Raises SessionEnded when the caller's rights
    end, and UnknownCursorError when the database has lost events that were delivered.
    """

    def __init__(
        self, context: Context, after: Anchor | None, wanted: EventFilter, locate: Locate
    ) -> None:
        # Called whenever all available events have been delivered.
        self.meanwhile: Meanwhile = _nothing
        self._context = context
        self._after = after
        self._wanted = wanted
        self._locate = locate
        self._status: UserStatus | None = None
        self._is_switched_off: Callable[[], bool]
        self.place: FeedPosition  # set when the iteration starts

    async def __aiter__(self) -> AsyncGenerator[UserEvent, None]:
        async with aclosing(self.batches()) as batches:
            async for events in batches:
                for event in events:
                    yield UserEvent.of(event)

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        context = self._context
        feed, user_id = context.feed, context.caller.user_id
        with (
            feed.watch_deactivation(user_id) as self._is_switched_off,
            context.session.following(context.throttled_as),
        ):
            self._status = await self._first_status()
            async with feed.subscribe(self._after, self._wanted) as place:
                self.place = place
                while not place.is_closed:
                    events = await self._read(place)
                    if events and not (self.has_rights() and await self.is_still_let_in()):
                        raise SessionEnded
                    if context.on_begun:
                        context.on_begun()
                    if events:
                        yield events
                    await self.meanwhile(self, place)
                    await place.wait()

    async def _read(self, place: FeedPosition) -> Sequence[Event]:
        try:
            return await place.read()
        except InvalidAnchor:
            raise self._locate(UnknownCursorError()) from None

    @property
    def token(self) -> str | None:
        return self._context.token

    async def is_still_let_in(self) -> bool:
        """Return whether the token is still valid. The result is the same for equal tokens."""
        return await self._context.is_still_let_in()

    def has_rights(self) -> bool:
        """Return whether the rights of the caller at the start are still valid."""
        return not self._is_switched_off() and policy.is_session_valid(
            self._context.caller, now(), self._status
        )

    async def _first_status(self) -> UserStatus | None:
        # The status of the caller. Later changes come from the feed.
        user_id = self._context.caller.user_id
        if user_id is None:
            return None
        user = await Loader(self._context.session, USERS_BY_ID).find(user_id)
        return user and user.status


def _locate(info: GraphInfo, error: GraphQLError) -> GraphQLError:
    # An error that the field's resolver raises is located in the same way.
    raw = raw_info(info)
    return located_error(error, raw.field_nodes, raw.path.as_list())


async def _nothing(*_: object) -> None:
    pass


@strawberry.type(
    description="Live updates over WebSocket (graphql-transport-ws) or Server-Sent Events."
)
class Subscription:
    @strawberry.subscription(
        metadata=ROOT_FIELD,
        description="Delivers the events of all users, each exactly once and in the order of the "
        "query `userEvents`. A client that reconnects with the cursor of its last "
        "event misses none. It ends with the error `UNAUTHENTICATED` when the "
        "caller's rights end, and with `INVALID_CURSOR` if a restore has lost events.",
    )
    def user_events(
        self,
        info: GraphInfo,
        after: Annotated[
            str | None,
            strawberry.argument(
                description="The cursor of any event; later events are replayed first. Without it "
                "the feed begins now. Over Server-Sent Events the header "
                "`Last-Event-ID` takes precedence."
            ),
        ] = None,
        filter: Annotated[
            UserEventFilter | None,
            strawberry.argument(description="Conditions that the events must meet."),
        ] = None,
    ) -> AsyncGenerator[UserEvent, None]:
        if not policy.can_read_history(info.context.caller):
            raise ForbiddenError(
                "Reading all events requires the scopes `users:read` and `users:history`."
            )
        wanted = filter.read() if filter else EventFilter()
        after = info.context.last_event_id or after
        if after == "":
            message = "An empty cursor is not a position in the feed. Omit `after` to begin now."
            raise InputError(message, "INVALID_CURSOR")
        position = None if after is None else decode_cursor(after)
        following = EventSubscription(info.context, position, wanted, partial(_locate, info))
        return cast("AsyncGenerator[UserEvent, None]", following)
