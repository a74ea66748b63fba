"""Conditions on rows, as they stand in a WHERE. Each is true or false of every row, never NULL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, false, literal, or_, true
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.expression import True_

from db.models import User, UserEvent, UserEventType, UserStatus

Condition = ColumnElement[bool]
Comparison = Callable[[Any, Any], Any]  # an operator of Python's: of a column it makes a condition

# In the text, not a parameter: that is how a planner knows that the partial indexes apply.
DELETED = literal(UserStatus.DELETED, User.status.type, literal_execute=True)
NOT_DELETED = User.status != DELETED
# The same, as a range: the order by status need not pass over the deleted.
BEFORE_DELETED = User.status < DELETED
_SEARCHED = (User.username_key, User.email_key, User.display_name_key)


def one_of(column: InstrumentedAttribute[Any], values: Sequence[Any]) -> Condition:
    return _of_a_value(column, column.in_(values)) if values else false()


def none_of(column: InstrumentedAttribute[Any], values: Sequence[Any]) -> Condition:
    """Hold for a row without a value too: it has none of them."""
    return ~one_of(column, values)


def contains(column: InstrumentedAttribute[Any], part: str) -> Condition:
    return _of_a_value(column, column.like(f"%{_literally(part)}%", escape="/"))


def starts_with(column: InstrumentedAttribute[Any], part: str) -> Condition:
    return _of_a_value(column, column.like(f"{_literally(part)}%", escape="/"))


def ends_with(column: InstrumentedAttribute[Any], part: str) -> Condition:
    return _of_a_value(column, column.like(f"%{_literally(part)}", escape="/"))


def _of_a_value(column: InstrumentedAttribute[Any], condition: Condition) -> Condition:
    nullable = column.property.columns[0].nullable
    return and_(column.is_not(None), condition) if nullable else condition


def _literally(part: str) -> str:
    return part.replace("/", "//").replace("%", "/%").replace("_", "/_")


@dataclass(frozen=True, slots=True)
class UserFilter:
    """What a listed user has to be.

    `statuses` None asks nothing; unless some condition `names_status`, deleted users are left out.
    `conditions` hold in any status. `search` has the forms, of which one has to be a part of a
    username's, an e-mail address's or a display name's key; empty searches for nothing. Who isn't
    `readable` is not there at all: no answer, and no time it takes, depends on them.
    """

    conditions: Sequence[Condition] = ()
    statuses: Sequence[UserStatus] | None = None
    names_status: bool = False
    search: Sequence[str] = ()
    readable: Condition = field(default_factory=true)

    def where(self) -> Condition:
        return and_(self.in_status(), self.where_in_any_status())

    def where_in_any_status(self) -> Condition:
        """Give the conditions less that on the status, deleted users with the others."""
        return and_(self.readable, *self.narrowing())

    def within(self) -> Condition:
        """Give what bounds the list before anything is looked for in it."""
        return and_(self.readable, self.in_status())

    def in_status(self) -> Condition:
        if self.statuses is not None:
            return one_of(User.status, self.statuses)
        return true() if self.names_status else NOT_DELETED

    @property
    def lists_everybody(self) -> bool:
        """Whether nothing is asked: the list has all who can be read and aren't deleted."""
        asks = self.conditions or self.search or self.lists_deleted
        return not asks and isinstance(self.readable, True_)

    @property
    def lists_deleted(self) -> bool:
        return self.names_status or self.statuses is not None

    def narrowing(self) -> Sequence[Condition]:
        if not self.search:
            return self.conditions
        found = or_(*(contains(c, form) for c in _SEARCHED for form in self.search))
        return [*self.conditions, found]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What a listed event has to be; None asks nothing, an empty tuple matches none."""

    user_ids: tuple[int, ...] | None = None
    types: tuple[UserEventType, ...] | None = None
    actor_ids: tuple[str, ...] | None = None
    at: tuple[tuple[Comparison, datetime], ...] = ()

    def matches(self, event: Row[Any]) -> bool:
        """Tell of an event that was read what `where` and `when` tell of one in the database."""
        return (
            (self.user_ids is None or event.user_id in self.user_ids)
            and (self.types is None or event.type in self.types)
            and (self.actor_ids is None or event.actor_id in self.actor_ids)
            and all(holds(event.at, moment) for holds, moment in self.at)
        )

    def when(self) -> Sequence[Condition]:
        return [holds(UserEvent.at, moment) for holds, moment in self.at]

    def where(self) -> Condition:
        """Give what indexes in the order of events answer; the moment is asked for apart."""
        terms = [
            one_of(column, values)
            for column, values in (
                (UserEvent.user_id, self.user_ids),
                (UserEvent.type, self.types),
                (UserEvent.actor_id, self.actor_ids),
            )
            if values is not None
        ]
        return and_(true(), *terms)


def all_of(conditions: Sequence[Condition]) -> Condition | None:
    return and_(*conditions) if conditions else None
