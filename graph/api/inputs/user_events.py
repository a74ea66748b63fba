"""The filter of a list of events."""

import strawberry

from db.filters import EventFilter
from graph.api.inputs.bounds import check_length, storable
from graph.api.inputs.comparisons import DateTimeFilter
from graph.api.inputs.user_lookup import read_user_id
from graph.api.types.enums import UserEventType


@strawberry.input(
    description="Conditions for events. All given conditions must be true. Null is the same as "
    "absent; an empty list matches no event."
)
class UserEventFilter:
    user_id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Events of these users, by global id."
    )
    type: list[UserEventType] | None = strawberry.field(
        default=None, description="Events of these types."
    )
    actor_id: list[str] | None = strawberry.field(
        default=None, description="Events by these authors, by `Actor.actorId`."
    )
    at: DateTimeFilter | None = strawberry.field(
        default=None, description="Events in this time range."
    )

    def read(self) -> EventFilter:
        """Return the filter for the database. Raises InputError if a value is invalid."""
        for name, values in (
            ("userId", self.user_id),
            ("type", self.type),
            ("actorId", self.actor_id),
        ):
            check_length(name, values)
        return EventFilter(
            user_ids=None if self.user_id is None else tuple(map(read_user_id, self.user_id)),
            types=self._types(),
            actor_ids=None if self.actor_id is None else tuple(filter(storable, self.actor_id)),
            at=() if self.at is None else tuple(self.at.comparisons()),
        )

    def _types(self) -> tuple[UserEventType, ...] | None:
        if self.at is not None and self.at.is_null:
            return ()  # every event has a time
        return None if self.type is None else tuple(self.type)
