"""Helpers for `db.models.User`: unique values, copies and rows."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from db.models import User, UserStatus

UniqueField = Literal["username", "email", "external_id"]
Columns = dict[str, Any]
Key = tuple[str, str]  # (column of KEY_COLUMNS, value)

# Field -> the column with the unique index.
KEY_COLUMNS: Final[Mapping[UniqueField, str]] = {
    "username": "username_key",
    "email": "email_key",
    "external_id": "external_id",
}
COLUMNS: Final = tuple(column.key for column in User.__table__.columns)
BLANK: Final = dict.fromkeys(COLUMNS)
_WRITTEN: Final = tuple(column for column in COLUMNS if column not in {"id", "random_id"})
_TICK: Final = timedelta(microseconds=1)  # resolution of the databases


def unique_values(user: User) -> list[Key]:
    """Return the unique values, including those that a deletion has released."""
    columns = vars(user)
    return [(name, columns[name]) for name in KEY_COLUMNS.values() if columns[name] is not None]


def held_values(user: User) -> list[Key]:
    # A deletion releases the unique values.
    return [] if vars(user)["status"] is UserStatus.DELETED else unique_values(user)


def with_columns(user: User, columns: Columns) -> User:
    before = vars(user)
    return User.having({column: before[column] for column in COLUMNS} | columns)


def row_of(user: User) -> dict[str, Any]:
    columns = vars(user)
    return {column: columns[column] for column in _WRITTEN}


def next_version_time(user: User, at: datetime) -> datetime:
    """Return `at`, or the first possible time after the current version if that is later."""
    # Clocks can go back, and the clocks of several servers differ. The times of versions must
    # increase: a client that asks for users updated after a version must find all later ones.
    return max(at, user.updated_at + _TICK)
