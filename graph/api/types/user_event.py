"""An event as clients see it, and the connection that a history is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Annotated, Self, cast

import strawberry

from db.pagination import Window
from feed.anchors import Anchor, mark_of
from graph.api import cursors, global_ids
from graph.api.context import GraphInfo
from graph.api.errors import InputError, UnknownCursorError
from graph.api.field_costs import ONE_READ, PER_ROW
from graph.api.types.enums import UserEventType
from graph.api.types.node import Node, PageInfo
from graph.api.types.record_view import Nested, NestedList, RecordView, itself

if TYPE_CHECKING:
    from graph.api.types.user import User

_ORDER = "events"
_CURSOR = (
    "The event's place among all events. Valid as long as the event exists: if a restore of the "
    "database has lost it, the cursor is rejected with `INVALID_CURSOR`. Start again from a list."
)


_id = global_ids.encoder("UserEvent")
encode_cursor = cursors.encoder(_ORDER, lambda event: (event.id, mark_of(event)))


def decode_cursor(text: str) -> Anchor:
    """Read a cursor of an event; `history.verify` tells whether the event exists.

    Raises UnknownCursorError. A cursor of another list has a message of its own.
    """
    try:
        return Anchor(*cursors.decode(text, _ORDER, [cursors.row_id, cursors.mark]))
    except cursors.InvalidCursorOrder as error:
        raise InputError(str(error), "INVALID_CURSOR") from None
    except cursors.InvalidCursor:
        raise UnknownCursorError from None


@dataclass(frozen=True, slots=True)
class EventWindow:
    """A part of a list of events, and the anchors of its cursors, to be verified."""

    window: Window
    anchors: Sequence[Anchor]

    @classmethod
    def of(cls, asked: Window) -> Self:
        """Divide a window whose cursors were read by `decode_cursor`."""
        anchors = [Anchor(*place) for place in (asked.after, asked.before) if place is not None]
        after_id, before_id = (place and place[:1] for place in (asked.after, asked.before))
        return cls(replace(asked, after=after_id, before=before_id), anchors)


@strawberry.type(description="Who changed something, as they were known at that moment.")
class Actor(RecordView):
    """Of the event."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "kind": lambda event: event.actor_kind.value,
        "id": "actor_id",
        "label": "actor_label",
    }

    kind: str = strawberry.field(description="`user`, `service` or `system`.")
    id: str | None = strawberry.field(description="Their id, where they have one.")
    label: str | None = strawberry.field(description="A name for people to read.")


@strawberry.type(description="One field of one change.")
class FieldChange(RecordView):
    """Of what an event keeps of a change."""

    fields_from = {  # noqa: RUF012 - declared in RecordView
        "field": itemgetter("field"),
        "before": itemgetter("before"),
        "after": itemgetter("after"),
        "redacted": lambda change: change.get("redacted", False),
    }

    field: str = strawberry.field(description="The field's name in this schema.")
    before: str | None = strawberry.field(description="The value before; null where it had none.")
    after: str | None = strawberry.field(description="The value after; null where it has none.")
    redacted: bool = strawberry.field(
        description="Whether the values were erased: both are null then."
    )


@strawberry.type(description="One change of one user. Each write leaves exactly one.")
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
        "version_after": "version_after",
    }

    cursor: str = strawberry.field(description=_CURSOR)
    type: UserEventType = strawberry.field(description="What happened.")
    user_id: strawberry.ID = strawberry.field(description="The id of the user it happened to.")
    at: datetime = strawberry.field(
        description="When it happened. Later with each event of one user; events of several users "
        "are ordered by `cursor`."
    )
    actor: Actor = strawberry.field(description="Who did it.")
    reason: str | None = strawberry.field(description="Why, in the words of who did it.")
    request_id: str | None = strawberry.field(
        description="The `X-Request-Id` of the request that did it."
    )
    changes: list[FieldChange] = strawberry.field(
        description="The fields that changed, in the order of `User`."
    )
    version_after: int = strawberry.field(description="The user's version from then on.")

    @strawberry.field(
        metadata=ONE_READ,
        description="The user it happened to, as they are now; null where the caller may not "
        "read them.",
    )
    def user(
        self, info: GraphInfo
    ) -> Annotated["User", strawberry.lazy("graph.api.types.user")] | None:
        from graph.api.types.user import User  # noqa: PLC0415 - the two types name each other

        return cast("User | None", User.find(info.context, self.record.user_id))


@strawberry.type(description="An event in a list of events.")
class UserEventEdge(RecordView):
    fields_from = {"cursor": encode_cursor, "node": Nested(UserEvent, itself)}  # noqa: RUF012 - declared in RecordView

    cursor: str = strawberry.field(description=_CURSOR)
    node: UserEvent = strawberry.field(description="The event.")


@strawberry.type(description="A page of events, the earliest first.")
class UserEventConnection(RecordView):
    fields_from = {  # noqa: RUF012 - declared in RecordView
        "edges": NestedList(UserEventEdge, attrgetter("rows")),
        "nodes": NestedList(UserEvent, attrgetter("rows")),
        "page_info": Nested(PageInfo, lambda page: (page, encode_cursor)),
    }

    edges: list[UserEventEdge] = strawberry.field(
        metadata=PER_ROW, description="The events with their cursors."
    )
    nodes: list[UserEvent] = strawberry.field(metadata=PER_ROW, description="The events alone.")
    page_info: PageInfo = strawberry.field(description="Where this page lies in the list.")
