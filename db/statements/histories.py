"""Statements on the histories of several users. This module runs none of them.

Their parameters are `user_ids` and the watermark `until`.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, func, literal_column, select
from sqlalchemy.orm import aliased

from db.column_types import among
from db.models import User, UserEvent
from db.pagination import KEPT, Sort, Window, bounds, open_window
from db.prepared import PreparedStatement
from db.statements.events import EVENT_COLUMNS, EVENT_ORDER

_MIN_ID: ColumnElement[Any] = literal_column("0")
_MAX_ID: ColumnElement[Any] = literal_column(str(2**63 - 1))


@lru_cache(maxsize=KEPT)
def histories(*, after: bool, before: bool, from_end: bool) -> PreparedStatement:
    """Prepare one window of each history, and one row more.

    The other parameters are those of the window. A user without events in the window has one row of
    nulls.
    """
    window = open_window(EVENT_ORDER, after=after, before=before, from_end=from_end)
    # The last row is found in the index, and then the rows up to it are read. A window function
    # would read whole histories.
    walked = aliased(UserEvent)
    # In a subquery, the number is unknown to PostgreSQL's planner. It expects every history to have
    # the average length, and would otherwise sort the whole history of a user if that is short.
    skipped = select(bindparam("rows", type_=Integer()) - 1).scalar_subquery()
    last = _nth(walked.id, walked, window, from_end=from_end).offset(skipped).scalar_subquery()
    near = (
        UserEvent.id >= func.coalesce(last, _MIN_ID)
        if from_end
        else UserEvent.id <= func.coalesce(last, _MAX_ID)
    )
    within = (UserEvent.id <= _until(), *bounds(EVENT_ORDER, window))
    # The outer join keeps SQLite from reading the events before the users.
    return PreparedStatement(
        select(*EVENT_COLUMNS)
        .select_from(User)
        .outerjoin(UserEvent, and_(UserEvent.user_id == User.id, near, *within))
        .where(among(User.id, "user_ids"))
        .order_by(User.id, UserEvent.id.desc() if from_end else UserEvent.id)
    )


def _nth(column: Any, event: type[UserEvent], window: Window, *, from_end: bool) -> Select[Any]:
    """Select a column of one event in a window of the history of `User.id`."""
    within = (event.id <= _until(), *bounds([Sort(event.id)], window))
    nth: Select[Any] = select(column).where(event.user_id == User.id, *within)
    order = event.id.desc() if from_end else event.id
    return nth.order_by(order).limit(literal_column("1")).correlate(User)


def _until() -> Any:
    return bindparam("until", type_=UserEvent.id.type)


# Each version of a user has one event, so the newest version in a history is its length.
_NEWEST = _nth(UserEvent.version_after, UserEvent, Window(limit=1), from_end=True)
HISTORY_LENGTHS = PreparedStatement(
    select(User.id.label("user_id"), _NEWEST.scalar_subquery().label("events")).where(
        among(User.id, "user_ids")
    )
)
