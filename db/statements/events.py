"""Statements on events: histories, the feed and erasure. This module runs none of them."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from sqlalchemy import (
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import insert

from db.column_types import among, elements_of, member_of
from db.filters import (
    Condition,
    EventFilter,
    all_of,
)
from db.models import (
    ActorKind,
    Change,
    FeedEpoch,
    UserEvent,
    UserEventType,
)
from db.pagination import Listing, Sort
from db.prepared import PreparedStatement

EVENTS_TABLE = cast("Table", UserEvent.__table__)
# The cursor of an event depends on the epoch. The subquery refers to nothing outside, so both
# databases run it once for each statement.
EPOCH = (
    select(FeedEpoch.epoch_id)
    .order_by(FeedEpoch.id.desc())
    .limit(literal_column("1"))
    .scalar_subquery()
    .label("epoch")
)
CURRENT_EPOCH = PreparedStatement(select(EPOCH))
EVENT_COLUMNS = (*EVENTS_TABLE.c, EPOCH)
EVENTS_BY_ID = PreparedStatement(
    select(*EVENT_COLUMNS, UserEvent.id.label("key")).where(among(UserEvent.id, "keys"))
)
ADD_EVENTS = insert(EVENTS_TABLE)
EVENT_VALUES = {
    c.key: bindparam(f"event_{c.key}", type_=c.type)
    for c in EVENTS_TABLE.c
    if c is not EVENTS_TABLE.c.id and c is not EVENTS_TABLE.c.user_id
}
ADD_EVENT = PreparedStatement(
    insert(EVENTS_TABLE).values(user_id=bindparam("user_id"), **EVENT_VALUES)
)
REDACT_EVENTS = (
    update(EVENTS_TABLE)
    .where(UserEvent.id == bindparam("row_id"))
    .values(changes=bindparam("kept"), reason=None)
)
# Assigns events to a user that were recorded as those of a service.
REATTRIBUTE_EVENTS = (
    update(EVENTS_TABLE)
    .where(UserEvent.id == bindparam("row_id"))
    .values(actor_kind=ActorKind.USER, actor_id=bindparam("user"), actor_label=None)
)


def traces_of(user_ids: Collection[int], subjects: Collection[str]) -> Select[Any]:
    """Select and lock all events about or by the users, in order of id.

    `subjects` are those of services that turned out to be the users.
    """
    traces = or_(UserEvent.user_id.in_(user_ids), _done_by(user_ids, subjects))
    table = EVENTS_TABLE.c
    columns = (table.id, table.user_id, table.changes, table.actor_kind, table.actor_id)
    found = select(*columns).where(traces).order_by(UserEvent.id).with_for_update()
    return found.params(subjects=list(subjects))


def forget_actors(user_ids: Collection[int]) -> Update:
    """Remove the users' names from the events of which they are the actor."""
    return update(EVENTS_TABLE).where(_done_by(user_ids)).values(actor_label=None)


def _done_by(user_ids: Collection[int], subjects: Collection[str] = ()) -> Condition:
    ids = [str(user_id) for user_id in user_ids]
    by_users = and_(UserEvent.actor_kind == ActorKind.USER, UserEvent.actor_id.in_(ids))
    if not subjects:
        return by_users
    # A list parameter: a user can have had more ids than a statement has parameters.
    theirs = among(UserEvent.actor_id, "subjects")
    return or_(by_users, and_(UserEvent.actor_kind == ActorKind.SERVICE, theirs))


def fields_changed_since(user_ids: Collection[int], version: int) -> Select[int, str, int]:
    """Select the fields that changed after a version, each with the version of its last change.

    Aggregated in the database, because the number of versions is unlimited.
    """
    change = elements_of(UserEvent.changes)
    field = member_of(change.c.value, "field").label("field")
    return (
        select(UserEvent.user_id, field, func.max(UserEvent.version_after).label("version"))
        .join(change, true())
        .where(UserEvent.user_id.in_(user_ids), UserEvent.version_after > version)
        .group_by(UserEvent.user_id, field)
    )


def events_until(versions: Mapping[int, int]) -> Select[Any]:
    """Select the events of users up to a version, in order: user id -> version."""
    statement: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
        UserEvent.user_id, UserEvent.at, UserEvent.changes, UserEvent.version_after
    )
    return statement.where(
        UserEvent.user_id.in_(versions), UserEvent.version_after <= max(versions.values())
    ).order_by(UserEvent.version_after)


EVENT_ORDER = (Sort(UserEvent.id),)


def events_listing(filter: EventFilter, until: int | None = None) -> Listing:
    within = filter.where() if until is None else and_(filter.where(), UserEvent.id <= until)
    return Listing(EVENT_COLUMNS, EVENT_ORDER, within, all_of(filter.when()))


def events_count_at_most(filter: EventFilter, until: int | None, limit: int) -> Select[int]:
    conditions = [filter.where(), *filter.when()]
    if until is not None:
        conditions.append(UserEvent.id <= until)
    found = select(UserEvent.id).where(*conditions).limit(limit)
    if filter.has_only_times:
        # Otherwise PostgreSQL's generic plan expects a third of the table to match, and scans it.
        found = found.order_by(UserEvent.at)
    return select(func.count()).select_from(found.subquery())


def events_between(after: int, until: int, filter: EventFilter, limit: int) -> Select[Any]:
    ids = [UserEvent.id > after, UserEvent.id <= until]
    matching = select(*EVENT_COLUMNS).where(*ids, filter.where(), *filter.when())
    return matching.order_by(UserEvent.id).limit(limit)


EVENTS_FROM = (
    select(*EVENT_COLUMNS)
    .where(UserEvent.id >= bindparam("first"))
    .order_by(UserEvent.id)
    .limit(bindparam("limit"))
)
EVENTS_UNTIL = EVENTS_FROM.where(UserEvent.id <= bindparam("until"))
# The columns of an anchor (`feed/anchors.py`).
ANCHOR_COLUMNS = (
    UserEvent.id,
    UserEvent.user_id,
    UserEvent.type,
    UserEvent.at,
    UserEvent.version_after,
    EPOCH,
)
NEWEST_EVENT = select(*ANCHOR_COLUMNS).order_by(UserEvent.id.desc()).limit(literal_column("1"))
EVENT_BY_ID = select(*ANCHOR_COLUMNS).where(UserEvent.id == bindparam("id"))
NEWEST_ERASURE = NEWEST_EVENT.where(UserEvent.type == UserEventType.ERASED)


def anchors_after(after: int) -> Select[Any]:
    return select(*ANCHOR_COLUMNS).where(UserEvent.id > after).order_by(UserEvent.id)


def history_after(user_id: int, event_id: int, limit: int) -> Select[Any]:
    events = select(*EVENT_COLUMNS).where(UserEvent.user_id == user_id, UserEvent.id > event_id)
    return events.order_by(UserEvent.id).limit(limit)


def actions_after(
    user_id: int, subjects: Collection[str], event_id: int, limit: int
) -> Select[Any]:
    """Select the events about other users by a user after an event, in order.

    `subjects` are the user's own, with which they acted as a service.
    """
    to_others = UserEvent.user_id != user_id
    acted = select(*EVENT_COLUMNS).where(
        _done_by([user_id], subjects), to_others, UserEvent.id > event_id
    )
    return acted.order_by(UserEvent.id).limit(limit).params(subjects=list(subjects))


def links_of(user_ids: Collection[int]) -> Select[int, int, list[Change]]:
    """Select the events of users that changed an external id, in order."""
    mention = cast_to(UserEvent.changes, Text()).like('%"externalId"%')
    columns = (UserEvent.id, UserEvent.user_id, UserEvent.changes)
    linked = select(*columns).where(UserEvent.user_id.in_(user_ids), mention)
    return linked.order_by(UserEvent.id)


ADD_FEED_EPOCH = insert(FeedEpoch).returning(FeedEpoch.id)
