"""Conditions for a WHERE clause. Each is true or false for every row, never NULL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, false, literal, true
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.expression import True_

from db.column_types import LAST_TEXT, nulls_last
from db.models import USER_KEYS, User, UserEvent, UserEventType, UserStatus

Condition = ColumnElement[bool]
Comparison = Callable[[Any, Any], Any]  # a Python operator; on a column it builds a condition

SEARCHED: Final = (User.username_key, User.email_key, User.display_name_key)
_TRIGRAM: Final = 3

# A literal, not a parameter: otherwise the planner cannot use the partial indexes.
DELETED = literal(UserStatus.DELETED, User.status.type, literal_execute=True)
NOT_DELETED = User.status != DELETED
# The same as a range: a list ordered by status does not scan the deleted users.
BEFORE_DELETED = User.status < DELETED


def one_of(column: InstrumentedAttribute[Any], values: Sequence[Any]) -> Condition:
    return of_a_value(column, column.in_(values)) if values else false()


def none_of(column: InstrumentedAttribute[Any], values: Sequence[Any]) -> Condition:
    return ~one_of(column, values)  # also true for a row without a value


def is_null(column: InstrumentedAttribute[Any], *, expected: bool) -> Condition:
    # A condition on a column that is never null is a constant, which an index scan need not check.
    if not _is_nullable(column):
        return false() if expected else true()
    return column.is_(None) if expected else column.is_not(None)


def compared(column: InstrumentedAttribute[Any], compare: Comparison, value: Any) -> Condition:
    return of_a_value(column, compare(column, value))


def contains(column: InstrumentedAttribute[Any], part: str) -> Condition:
    return _like(column, containing(part), part)


def starts_with(column: InstrumentedAttribute[Any], part: str) -> Condition:
    # A range, because an index supports LIKE only if the pattern is known to the planner.
    value = indexed_value(column)
    return of_a_value(column, and_(value >= part, value < part + LAST_TEXT))


def ends_with(column: InstrumentedAttribute[Any], part: str) -> Condition:
    return _like(column, f"%{_literally(part)}", part)


def _like(column: InstrumentedAttribute[Any], pattern: str, part: str) -> Condition:
    found = of_a_value(column, column.like(pattern, escape="/"))
    if has_trigram(part) and any(column is searched for searched in SEARCHED):
        return and_(found, any_key_contains(part))  # for the index
    return found


def indexed_value(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    return nulls_last(column) if column is User.display_name_key else column.expression


def any_key_contains(part: str) -> Condition:
    """Return whether the username, the e-mail address or the display name contains a text.

    A trigram index supports this for a text with a trigram. The text must be without line breaks.
    """
    return USER_KEYS.like(containing(part), escape="/")


def containing(part: str) -> str:
    """Return a pattern for LIKE with the escape character `/`."""
    return f"%{_literally(part)}%"


def has_trigram(text: str) -> bool:
    return count_letters(text) >= _TRIGRAM


def count_letters(text: str) -> int:
    """Return the number of letters and digits."""
    return sum(map(str.isalnum, text))


def of_a_value(column: InstrumentedAttribute[Any], condition: Condition) -> Condition:
    return and_(column.is_not(None), condition) if _is_nullable(column) else condition


def _is_nullable(column: InstrumentedAttribute[Any]) -> bool:
    return bool(column.property.columns[0].nullable)


def _literally(part: str) -> str:
    return part.replace("/", "//").replace("%", "/%").replace("_", "/_")


@dataclass(frozen=True, slots=True)
class UserFilter:
    """The conditions of a list of users.

    `statuses`: None means no condition. Deleted users are excluded unless a condition names a
    status (`names_status`). `conditions` apply in every status. `search`: the condition of the
    search. `readable`: other users do not exist for this caller. They affect neither the result
    nor the time it takes.
    """

    conditions: Sequence[Condition] = ()
    statuses: Sequence[UserStatus] | None = None
    names_status: bool = False
    search: Condition | None = None
    readable: Condition = field(default_factory=true)

    def where(self) -> Condition:
        return and_(self.in_status(), self.where_in_any_status())

    def where_in_any_status(self) -> Condition:
        """Return all conditions except the one on the status."""
        return and_(self.readable, *self.narrowing())

    def within(self) -> Condition:
        """Return the conditions that bound the list, without `conditions` and `search`."""
        return and_(self.readable, self.in_status())

    def in_status(self) -> Condition:
        if self.statuses is not None:
            return one_of(User.status, self.statuses)
        return true() if self.names_status else NOT_DELETED

    @property
    def lists_everybody(self) -> bool:
        """Whether the list contains every readable user that is not deleted."""
        asks = self.conditions or self.search is not None or self.lists_deleted
        return not asks and isinstance(self.readable, True_)

    @property
    def lists_deleted(self) -> bool:
        return self.names_status or self.statuses is not None

    def narrowing(self) -> Sequence[Condition]:
        return self.conditions if self.search is None else [*self.conditions, self.search]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The conditions of a list of events. None: no condition. An empty tuple matches nothing."""

    user_ids: tuple[int, ...] | None = None
    types: tuple[UserEventType, ...] | None = None
    actor_ids: tuple[str, ...] | None = None
    at: tuple[tuple[Comparison, datetime], ...] = ()

    def matches(self, event: Row[Any]) -> bool:
        """Apply the conditions of `where` and `when` to an event that was already read."""
        return (
            (self.user_ids is None or event.user_id in self.user_ids)
            and (self.types is None or event.type in self.types)
            and (self.actor_ids is None or event.actor_id in self.actor_ids)
            and all(holds(event.at, moment) for holds, moment in self.at)
        )

    @property
    def has_only_times(self) -> bool:
        return bool(self.at) and self == EventFilter(at=self.at)

    def when(self) -> Sequence[Condition]:
        return [holds(UserEvent.at, moment) for holds, moment in self.at]

    def where(self) -> Condition:
        """Return the conditions without those on the time, which no index in event order covers."""
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
