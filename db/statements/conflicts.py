"""Statement on what changed between two versions of users. This module runs none."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Integer, Select, and_, column, func, select, true, union, values

from db.column_types import elements_of, member_of
from db.models import UserEvent

Span = tuple[int, int, int]  # (user id, version before the changes, version after them)


def ends_of(spans: Sequence[Span]) -> Select[Any]:
    """Select the first and last event of each field within each span, and the span's last event.

    A field has at most two rows, because the number of versions is unlimited. Ordered by version.
    """
    names = (column("user_id", UserEvent.user_id.type), column("since", Integer()))
    asked = values(*names, column("until", Integer()), name="asked").data(spans).cte("asked")
    change = elements_of(UserEvent.changes)
    field = member_of(change.c.value, "field")
    within = and_(
        UserEvent.user_id == asked.c.user_id,
        UserEvent.version_after > asked.c.since,
        UserEvent.version_after <= asked.c.until,
    )
    version = UserEvent.version_after
    fields = (
        select(*asked.c, func.min(version).label("first"), func.max(version).label("last"))
        .join(UserEvent, within)
        .join(change, true())
        .group_by(*asked.c, field)
        .cte("fields")
    )
    key = (fields.c.user_id, fields.c.since, fields.c.until)
    ends = union(
        select(*key, fields.c.first.label("version")),
        select(*key, fields.c.last),
        select(*asked.c, asked.c.until),
    ).subquery("ends")
    kept = and_(UserEvent.user_id == ends.c.user_id, version == ends.c.version)
    actor = (UserEvent.actor_kind, UserEvent.actor_id, UserEvent.actor_label)
    found: Select[Any] = select(
        ends.c.user_id, ends.c.since, ends.c.until, version, *actor, UserEvent.changes
    )
    return found.join(UserEvent, kept).order_by(version)
