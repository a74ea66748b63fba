"""Statements on users: lookups, lists, counts and writes. This module runs none of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from db.column_types import among
from db.filters import (
    BEFORE_DELETED,
    NOT_DELETED,
    UserFilter,
    all_of,
)
from db.models import (
    User,
    UserEvent,
    UserEventType,
)
from db.pagination import KEPT, Listing, Sort
from db.prepared import PreparedStatement
from db.statements.events import EVENT_VALUES, EVENTS_TABLE

_USERS = cast("Table", User.__table__)
# `random_id` identifies the row in the ledger of erasures, and nothing else reads it.
USER_COLUMNS = tuple(
    c for c in _USERS.c if not c.key.endswith("_key") and c is not _USERS.c.random_id
)


def user_by(
    column: InstrumentedAttribute[Any], columns: Sequence[Column[Any]] = USER_COLUMNS
) -> PreparedStatement:
    """Select users by `keys`. Deleted users are found only by id."""
    keys = among(column, "keys")
    return PreparedStatement(
        select(*columns, column.label("key")).where(
            keys if column is User.id else and_(keys, NOT_DELETED)
        )
    )


def user_columns(names: Collection[str]) -> Sequence[Column[Any]]:
    return [column for column in USER_COLUMNS if column.key in names]


# The most requested columns. Operations that need no others share lookups of half the width.
BRIEF: Final = frozenset(
    {"id", "username", "email", "display_name", "is_active", "status", "version", "created_at"}
)
USERS_BY_ID = user_by(User.id)
BRIEF_USERS_BY_ID = user_by(User.id, user_columns(BRIEF))
USERS_BY_USERNAME = user_by(User.username_key)
USERS_BY_EMAIL = user_by(User.email_key)
USERS_BY_EXTERNAL_ID = user_by(User.external_id)


def users_listing(
    filter: UserFilter,
    order: Sequence[Sort],
    columns: Sequence[Column[Any]] = USER_COLUMNS,
) -> Listing:
    """List the matching users. The last sort of `order` must be unique."""
    by_status = order[0].column is User.status
    less_than = BEFORE_DELETED if by_status and not filter.lists_deleted else None
    where = all_of(filter.narrowing())
    return Listing(columns, order, filter.within(), where, less_than)


@lru_cache(maxsize=KEPT)
def everybody(
    order: tuple[tuple[str, bool], ...],
    columns: frozenset[str],
    *,
    after: bool,
    before: bool,
    from_end: bool,
) -> PreparedStatement:
    """Prepare a list of all users. `order`: names of columns, each with whether it descends."""
    sorts = [Sort(getattr(User, name), descending) for name, descending in order]
    listing = users_listing(UserFilter(), sorts, user_columns(columns))
    return listing.query(after=after, before=before, from_end=from_end)


def users_count(where: ColumnElement[bool]) -> Select[int]:
    return select(func.count()).select_from(User).where(where)


def users_count_at_most(where: ColumnElement[bool], limit: int) -> Select[int]:
    return select(func.count()).select_from(select(User.id).where(where).limit(limit).subquery())


def users_by_status(where: ColumnElement[bool]) -> Select[Any]:
    statement: Select[Any] = select(User.status, func.count().label("users")).where(where)  # type: ignore[assignment]  # its columns are read by name
    return statement.group_by(User.status)


def users_to_write(ids: Collection[int], keys: Mapping[str, Sequence[str]]) -> Select[Any]:
    """Select and lock whole users by id, or by a unique value.

    They are locked in the order of their ids, which avoids deadlocks.
    """
    by_key = [and_(getattr(User, name).in_(values), NOT_DELETED) for name, values in keys.items()]
    named = or_(*([User.id.in_(ids)] if ids else []), *by_key)
    return select(*_USERS.c).where(named).order_by(User.id).with_for_update()


def users_to_hold(ids: Collection[int]) -> Select[Any]:
    """Select whole users by id, with a shared lock that blocks writes."""
    return select(*_USERS.c).where(User.id.in_(ids)).order_by(User.id).with_for_update(read=True)


def users_to_read(ids: Collection[int]) -> Select[Any]:
    return select(*_USERS.c).where(User.id.in_(ids))


def key_holders(keys: Mapping[str, Sequence[str]]) -> Select[int, str, str, str | None]:
    held = or_(*(getattr(User, name).in_(values) for name, values in keys.items()))
    columns = (User.id, User.username_key, User.email_key, User.external_id)
    return select(*columns).where(held, NOT_DELETED)


# The database assigns `id` and `random_id`, which never change.
_EVERY_COLUMN: Mapping[str, Any] = {
    c.key: bindparam(c.key, type_=c.type)
    for c in _USERS.c
    if c is not _USERS.c.id and c is not _USERS.c.random_id
}
# Each of these runs once, with a list of parameters.
ADD_USERS = (
    # PostgreSQL's construct; SQLite has the same syntax. A row whose unique values are taken is not
    # returned.
    insert(_USERS).on_conflict_do_nothing().returning(User.id, User.username_key)
)
UPDATE_USERS = update(_USERS).where(User.id == bindparam("row_id")).values(**_EVERY_COLUMN)
FREE_KEYS = (
    update(_USERS)
    .where(User.id == bindparam("row_id"))
    .values(username_key=bindparam("freed"), email_key=bindparam("freed"), external_id=None)
)
_ADD_USER = ADD_USERS.values(_EVERY_COLUMN)
ADD_USER = PreparedStatement(_ADD_USER)
_ADDED = _ADD_USER.cte("added")
# A user and their event in one statement, for PostgreSQL only. If a unique value is taken, neither
# is inserted and no row is returned. As with every event, the transaction holds the lock on the
# table of events from before the event's id is assigned until after the commit.
ADD_USER_WITH_EVENT = PreparedStatement(
    insert(EVENTS_TABLE)
    .from_select(["user_id", *EVENT_VALUES], select(_ADDED.c.id, *EVENT_VALUES.values()))
    .returning(UserEvent.user_id)
)


def due_users(now: datetime, limit: int) -> Select[int]:
    """Select and lock deleted users that are due for erasure; skip those that are locked."""
    due = select(User.id).where(User.erase_after <= now).order_by(User.erase_after, User.id)
    return due.limit(limit).with_for_update(skip_locked=True)


_IDENTITY: Sequence[Any] = (User.id, User.created_at, User.random_id)


def identities_of(user_ids: Collection[int]) -> Select[Any]:
    """Select what identifies rows in the ledger of erasures, and whether they are erased."""
    columns = (*_IDENTITY, User.erased_at)
    return select(*columns).where(User.id.in_(user_ids))


def erased_users() -> Select[Any]:
    # By their events, which have an index by type.
    erased = select(UserEvent.user_id).where(UserEvent.type == UserEventType.ERASED)
    found = select(*_IDENTITY).where(User.id.in_(erased), User.erased_at.is_not(None))
    return found.order_by(User.id)
