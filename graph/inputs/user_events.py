"""What selects events."""

from datetime import datetime

import strawberry
from sqlalchemy import ColumnElement

from db.models import UserEvent, UserEventType
from db.statements import EventFilter
from graph.inputs.lists import check_length, storable
from graph.inputs.users import user_id


@strawberry.input(description="Where a moment has to lie; all that is given has to hold.")
class DateTimeFilter:
    gt: datetime | None = strawberry.field(default=None, description="After this moment.")
    gte: datetime | None = strawberry.field(default=None, description="At this moment or after.")
    lt: datetime | None = strawberry.field(default=None, description="Before this moment.")
    lte: datetime | None = strawberry.field(default=None, description="At this moment or before.")


@strawberry.input(
    description="What the listed events have to be; all that is given has to hold. Null and absent "
    "both ask nothing; an empty list matches none."
)
class UserEventFilter:
    user_id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of one of these users."
    )
    type: list[UserEventType] | None = strawberry.field(
        default=None, description="Of one of these types."
    )
    actor_id: list[str] | None = strawberry.field(
        default=None, description="By one of these actors."
    )
    at: DateTimeFilter | None = strawberry.field(default=None, description="When it happened.")

    def read(self) -> EventFilter:
        """Turn it into what the database is asked; raise InputError for what cannot be meant."""
        for name, values in (
            ("userId", self.user_id),
            ("type", self.type),
            ("actorId", self.actor_id),
        ):
            check_length(name, values)
        return EventFilter(
            user_ids=None if self.user_id is None else [user_id(text) for text in self.user_id],
            types=self.type,
            actor_ids=None if self.actor_id is None else [t for t in self.actor_id if storable(t)],
            at=_bounds(self.at),
        )


def _bounds(at: DateTimeFilter | None) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if at is None:
        return bounds
    if at.gt is not None:
        bounds.append(UserEvent.at > at.gt)
    if at.gte is not None:
        bounds.append(UserEvent.at >= at.gte)
    if at.lt is not None:
        bounds.append(UserEvent.at < at.lt)
    if at.lte is not None:
        bounds.append(UserEvent.at <= at.lte)
    return bounds
