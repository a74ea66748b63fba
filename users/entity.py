"""Helpers for the entity `db.models.User`: its unique values, copies and rows."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from db.models import User, UserStatus

UniqueField = Literal["username", "email", "external_id"]
Columns = dict[str, Any]
Key = tuple[str, str]  # a column of KEY_COLUMNS, and its value

# Field -> the column with the unique index.
KEY_COLUMNS: Final[Mapping[UniqueField, str]] = {
    "username": "username_key",
    "email": "email_key",
    "external_id": "external_id",
}
COLUMNS: Final = tuple(column.key for column in User.__table__.columns)
BLANK: Final = dict.fromkeys(COLUMNS)
_WRITTEN: Final = tuple(column for column in COLUMNS if column != "id")
_TICK: Final = timedelta(microseconds=1)  # the databases' resolution


def unique_values(user: User) -> list[Key]:
    """Return the unique values of a user, including those that a deletion has released."""
    columns = vars(user)
    return [(name, columns[name]) for name in KEY_COLUMNS.values() if columns[name] is not None]


def held_values(user: User) -> list[Key]:
    """Return the unique values that no other user can have. A deleted user holds none."""
    return [] if vars(user)["status"] is UserStatus.DELETED else unique_values(user)


def with_columns(user: User, columns: Columns) -> User:
    """Return a copy of a user with other values in these columns."""
    before = vars(user)
    return User.having({column: before[column] for column in COLUMNS} | columns)


def row_of(user: User) -> dict[str, Any]:
    """Return the columns to write: all but the id."""
    columns = vars(user)
    return {column: columns[column] for column in _WRITTEN}


def next_version_time(user: User, at: datetime) -> datetime:
    """Return the time of a user's next version: `at`, or just after the current version.

    Clocks can go back, and clocks of several servers differ. No two versions have the same time:
    a client that asks for what was updated after the version it has must find every later one.
    """
    return max(at, user.updated_at + _TICK)
