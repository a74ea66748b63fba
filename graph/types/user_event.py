"""An event as clients see it, and the connection that a history is."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

import strawberry

from db.models import UserEventType
from graph import cursor as cursors
from graph import ids
from graph.context import GraphInfo
from graph.types.node import Node, PageInfo
from graph.types.view import View

if TYPE_CHECKING:
    from graph.types.user import User

_ORDER = "events"


def decode_cursor(text: str) -> cursors.Position:
    return cursors.decode(text, _ORDER, [cursors.row_id])


def encode_cursor(event: Any) -> str:
    return cursors.encode(_ORDER, [event.id])


@strawberry.type(description="Who changed something, as they were known at that moment.")
class Actor:
    kind: str = strawberry.field(description="`user`, `service` or `system`.")
    id: str | None = strawberry.field(description="Their id, where they have one.")
    label: str | None = strawberry.field(description="A name for people to read.")

    @classmethod
    def of(cls, event: Any) -> Self:
        return cls(kind=event.actor_kind.value, id=event.actor_id, label=event.actor_label)


@strawberry.type(description="One field of one change.")
class FieldChange:
    field: str = strawberry.field(description="The field's name in this schema.")
    before: str | None = strawberry.field(description="The value before; null where it had none.")
    after: str | None = strawberry.field(description="The value after; null where it has none.")
    redacted: bool = strawberry.field(
        default=False, description="Whether the values were erased: both are null then."
    )


@strawberry.type(description="One change of one user. Each write leaves exactly one.")
class UserEvent(View, Node):
    __reads__ = {  # noqa: RUF012 - declared in View
        "id": lambda event: ids.encode("UserEvent", event.id),
        "cursor": encode_cursor,
        "type": "type",
        "user_id": lambda event: ids.encode("User", event.user_id),
        "at": "at",
        "actor": Actor.of,
        "reason": "reason",
        "request_id": "request_id",
        "changes": lambda event: [FieldChange(**change) for change in event.changes],
        "version_after": "version_after",
    }

    cursor: str = strawberry.field(description="The event's place among all events.")
    type: UserEventType = strawberry.field(description="What happened.")
    user_id: strawberry.ID = strawberry.field(description="The id of the user it happened to.")
    at: datetime = strawberry.field(description="When it happened.")
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
        description="The user it happened to, as they are now; null where the caller may not "
        "read them."
    )
    async def user(
        self, info: GraphInfo
    ) -> Annotated["User", strawberry.lazy("graph.types.user")] | None:
        from graph.types.user import User  # noqa: PLC0415 - the two types name each other

        return await User.find(info.context, self.record.user_id)


@strawberry.type(description="An event in a list of events.")
class UserEventEdge(View):
    __reads__ = {"cursor": encode_cursor, "node": UserEvent.of}  # noqa: RUF012 - declared in View

    cursor: str = strawberry.field(description="The event's place among all events.")
    node: UserEvent = strawberry.field(description="The event.")


@strawberry.type(description="A page of events, the earliest first.")
class UserEventConnection(View):
    __reads__ = {  # noqa: RUF012 - declared in View
        "edges": lambda page: list(map(UserEventEdge.of, page.rows)),
        "nodes": lambda page: list(map(UserEvent.of, page.rows)),
        "page_info": lambda page: PageInfo.of((page, encode_cursor)),
    }

    edges: list[UserEventEdge] = strawberry.field(description="The events with their cursors.")
    nodes: list[UserEvent] = strawberry.field(description="The events alone.")
    page_info: PageInfo = strawberry.field(description="Where this page lies in the list.")
