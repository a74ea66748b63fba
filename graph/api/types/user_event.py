"""The types of an event and of lists of events."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import strawberry
from strawberry.utils.str_converters import to_camel_case

from db.models import ActorKind
from db.pagination import Window
from feed.anchors import Anchor, mark_of
from graph.api import cursors, global_ids
from graph.api.context import Context, GraphInfo
from graph.api.errors import InputError, UnknownCursorError
from graph.api.field_costs import ONE_READ, PER_ROW
from graph.api.pagination import CountLimit, Page, check_count_limit
from graph.api.types.enums import (
    ActorType,
    UserEventOrder,
    UserEventType,
    UserField,
    UserStatus,
)
from graph.api.types.node import Node, PageInfo
from graph.api.types.record_view import Nested, NestedList, RecordView, itself

if TYPE_CHECKING:
    from graph.api.types.user import User, UserEdge

_ORDER = "events"
_CURSOR = (
    "The position of the event among all events, for `after` and `before`. If a restore of the "
    "database has lost the event, the cursor is rejected with `INVALID_CURSOR`: start again from "
    "a list."
)


_id = global_ids.encoder("UserEvent")
encode_cursor = cursors.encoder(_ORDER, lambda event: (event.id, mark_of(event)))


def encode_anchor(anchor: Anchor) -> str:
    return cursors.encode(_ORDER, anchor)


def decode_cursor(text: str) -> Anchor:
    """Return the anchor of an event's cursor. `history.verify` checks that the event exists.

    Raises UnknownCursorError, or InputError for a cursor of another list.
    """
    try:
        return Anchor(*cursors.decode(text, _ORDER, [cursors.event_id, cursors.mark]))
    except cursors.InvalidCursorOrder as error:
        raise InputError(str(error), "INVALID_CURSOR") from None
    except cursors.InvalidCursor:
        raise UnknownCursorError from None


EventOrder = Annotated[
    UserEventOrder | None,
    strawberry.argument(
        description="The order of the list, earliest first by default. A cursor names an event, so "
        "that it is valid in both orders."
    ),
]


@dataclass(frozen=True, slots=True)
class EventWindow:
    """A part of a list of events, and the anchors of its cursors, which must be verified.

    The window is that of the list in the order of the feed. A list that begins with the newest
    event is read from the end, so that both orders share statements and dataloaders.
    """

    window: Window
    anchors: Sequence[Anchor]
    newest_first: bool

    @classmethod
    def of(cls, asked: Window, order: UserEventOrder | None) -> Self:
        """Return the event window for a window whose cursors were read by `decode_cursor`."""
        anchors = [Anchor(*place) for place in (asked.after, asked.before) if place is not None]
        after_id, before_id = (place and place[:1] for place in (asked.after, asked.before))
        window = replace(asked, after=after_id, before=before_id)
        newest_first = order is UserEventOrder.NEWEST_FIRST
        return cls(window.reversed() if newest_first else window, anchors, newest_first)

    def arrange(self, page: Page[Any]) -> Page[Any]:
        """Return a page of `window` in the order that was asked for."""
        return page.reversed() if self.newest_first else page


_ACTOR_TYPES = {kind: ActorType[kind.name] for kind in ActorKind}
_USER_FIELDS = {to_camel_case(field.name.lower()): field for field in UserField}


def _find_user(context: Context, user_id: int) -> "User | None":
    from graph.api.types.user import User  # noqa: PLC0415 - the two modules refer to each other

    return cast("User | None", User.find(context, user_id))


def _find_edge(context: Context, user_id: int) -> "UserEdge | None":
    from graph.api.types.user import UserEdge  # noqa: PLC0415 - as above

    return cast("UserEdge | None", UserEdge.find(context, user_id))


def _status(side: str, event: Any) -> UserStatus | None:
    for change in event.changes:
        if change["field"] == "status":
            return UserStatus(change[side]) if change[side] else None
    return None


@strawberry.type(description="The author of a change, as recorded at the time of the change.")
class Actor(RecordView):
    """The record is the event."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "type": lambda event: _ACTOR_TYPES[event.actor_kind],
        "kind": lambda event: event.actor_kind.value,
        "actor_id": "actor_id",
        "id": "actor_id",
        "label": "actor_label",
    }

    type: ActorType = strawberry.field(description="Whether a user, a service or Roster acted.")
    kind: str = strawberry.field(
        description="One of `user`, `service` and `system`.",
        deprecation_reason="Use `type`, an enum. `kind` will be removed in 1.0.",
    )
    actor_id: str | None = strawberry.field(
        description="The database id of a user, or the subject of a service, for "
        "`UserEventFilter.actorId`. Null for Roster itself."
    )
    id: str | None = strawberry.field(
        description="The database id of a user, or the subject of a service. Null for `system`.",
        deprecation_reason="Use `actorId`: caches merge actors with the same `id`. `id` will be "
        "removed in 1.0.",
    )
    label: str | None = strawberry.field(
        description="A display name, for people. Null after the author was erased."
    )

    @strawberry.field(
        metadata=ONE_READ,
        description="The author as they are now. Null if the author is not a user, or if the "
        "caller may not read them.",
    )
    def user(
        self, info: GraphInfo
    ) -> Annotated["User", strawberry.lazy("graph.api.types.user")] | None:
        if self.record.actor_kind is not ActorKind.USER:
            return None
        # The column also has the names of services, and no constraint on its format.
        user_id = global_ids.database_id(self.record.actor_id or "")
        return None if user_id is None else _find_user(info.context, user_id)


@strawberry.type(description="A change of one field.")
class FieldChange(RecordView):
    """The record is one of the event's `changes`."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "field_name": lambda change: _USER_FIELDS.get(change["field"], UserField.OTHER),
        "field": itemgetter("field"),
        "before": itemgetter("before"),
        "after": itemgetter("after"),
        "redacted": lambda change: change.get("redacted", False),
    }

    field_name: UserField = strawberry.field(description="The field of `User` that was changed.")
    field: str = strawberry.field(
        description="The name of the field of `User`.",
        deprecation_reason="Use `fieldName`, an enum. `field` will be removed in 1.0.",
    )
    before: str | None = strawberry.field(
        description="The value before the change. Null if there was none."
    )
    after: str | None = strawberry.field(
        description="The value after the change. Null if there is none."
    )
    redacted: bool = strawberry.field(
        description="True if the values were erased. Then `before` and `after` are null."
    )


@strawberry.type(description="A change of one user. Each version of a user has exactly one event.")
class UserEvent(RecordView, Node):
    fields_from = {  # noqa: RUF012 - declared in RecordView
        "id": lambda event: _id(event.id),
        "cursor": encode_cursor,
        "type": "type",
        "user_id": lambda event: global_ids.encode_user(event.user_id),
        "at": "at",
        "actor": Nested(Actor, itself),
        "reason": "reason",
        "request_id": "request_id",
        "changes": NestedList(FieldChange, attrgetter("changes")),
        "status_before": partial(_status, "before"),
        "status_after": partial(_status, "after"),
        "version_after": "version_after",
    }

    cursor: str = strawberry.field(description=_CURSOR)
    type: UserEventType = strawberry.field(description="The kind of change.")
    user_id: strawberry.ID = strawberry.field(description="The global id of the changed user.")
    at: datetime = strawberry.field(
        description="The time of the change. It increases with each event of one user; events of "
        "different users are ordered by `cursor`."
    )
    actor: Actor = strawberry.field(description="The author of the change.")
    reason: str | None = strawberry.field(description="The reason given by the author.")
    request_id: str | None = strawberry.field(
        description="The `X-Request-Id` of the request that made the change."
    )
    changes: list[FieldChange] = strawberry.field(
        description="The changed fields, in the order of `User`."
    )
    status_before: UserStatus | None = strawberry.field(
        description="The status before the change. Null if the event did not change the status, "
        "and for `CREATED`."
    )
    status_after: UserStatus | None = strawberry.field(
        description="The status after the change. Null if the event did not change the status."
    )
    version_after: int = strawberry.field(description="The version of the user after the change.")

    @strawberry.field(
        metadata=ONE_READ,
        description="The changed user as they are now. Null if the caller may not read them.",
    )
    def user(
        self, info: GraphInfo
    ) -> Annotated["User", strawberry.lazy("graph.api.types.user")] | None:
        return _find_user(info.context, self.record.user_id)

    @strawberry.field(
        metadata=ONE_READ,
        description="The changed user as they are now, as an edge of the list in the default "
        "order: for adding to that list, or for replacing there. Null if the caller may not read "
        "them.",
    )
    def user_edge(
        self, info: GraphInfo
    ) -> Annotated["UserEdge", strawberry.lazy("graph.api.types.user")] | None:
        return _find_edge(info.context, self.record.user_id)


@strawberry.type(description="An event in a list, with its cursor.")
class UserEventEdge(RecordView):
    fields_from = {"cursor": encode_cursor, "node": Nested(UserEvent, itself)}  # noqa: RUF012 - declared in RecordView

    cursor: str = strawberry.field(description=_CURSOR)
    node: UserEvent = strawberry.field(description="The event of this edge.")


@dataclass(frozen=True, slots=True)
class UserEvents:
    """A page of events, and a function that counts the whole list up to a limit."""

    page: Page[Any]
    count_at_most: Callable[[int], Awaitable[int]]


@strawberry.type(description="A page of a list of events.")
class UserEventConnection(RecordView):
    fields_from = {  # noqa: RUF012 - declared in RecordView
        "edges": NestedList(UserEventEdge, attrgetter("page.rows")),
        "nodes": NestedList(UserEvent, attrgetter("page.rows")),
        "page_info": Nested(PageInfo, lambda events: (events.page, encode_cursor)),
    }

    edges: list[UserEventEdge] = strawberry.field(
        metadata=PER_ROW, description="The events of the page with their cursors."
    )
    nodes: list[UserEvent] = strawberry.field(
        metadata=PER_ROW, description="The events of the page without cursors."
    )
    page_info: PageInfo = strawberry.field(
        description="Whether the list continues on either side of this page."
    )

    @strawberry.field(
        metadata=ONE_READ,
        description="The number of events in the whole list, counted up to a limit: for labels "
        "such as 1000+.",
    )
    async def count_at_most(self, info: GraphInfo, limit: CountLimit = 1000) -> int | None:  # noqa: ARG002 - Strawberry's resolvers take it
        check_count_limit(limit)
        events: UserEvents = self.record
        return await events.count_at_most(limit)
