"""Pure statement builders: by key, lists, counts, writes. Nothing here runs a statement."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    outerjoin,
    select,
    true,
    update,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db.column_types import among, elements_of, member_of
from db.filters import (
    BEFORE_DELETED,
    DELETED,
    NOT_DELETED,
    Condition,
    EventFilter,
    UserFilter,
)
from db.models import (
    ActorKind,
    ApiKey,
    Change,
    FeedEpoch,
    FormerExternalId,
    IdempotencyKey,
    IdentityKey,
    User,
    UserEvent,
    UserEventType,
    UserStatus,
)
from db.pagination import Listing, Sort, bounds, open_window, term
from db.prepared import PreparedStatement

_USERS = cast("Table", User.__table__)
_EVENTS = cast("Table", UserEvent.__table__)
_API_KEYS = cast("Table", ApiKey.__table__)
_FORMER_IDS = cast("Table", FormerExternalId.__table__)
_KEPT = 256  # lists of each kind that are prepared: callers choose columns and orders
USER_COLUMNS = tuple(c for c in _USERS.c if not c.key.endswith("_key"))
# The epoch comes with each event, because its cursor depends on it. The subquery refers to nothing
# outside, so both databases run it once for each statement.
EPOCH = (
    select(FeedEpoch.epoch_id)
    .order_by(FeedEpoch.id.desc())
    .limit(literal_column("1"))
    .scalar_subquery()
    .label("epoch")
)
EVENT_COLUMNS = (*_EVENTS.c, EPOCH)


def user_by(
    column: InstrumentedAttribute[Any], columns: Sequence[Column[Any]] = USER_COLUMNS
) -> PreparedStatement:
    """Select the users whose key is among `keys`; deleted ones by their id alone."""
    keys = among(column, "keys")
    return PreparedStatement(
        select(*columns, column.label("key")).where(
            keys if column is User.id else and_(keys, NOT_DELETED)
        )
    )


def user_columns(names: Collection[str]) -> Sequence[Column[Any]]:
    return [column for column in USER_COLUMNS if column.key in names]


# What is most asked for of a user: whoever wants no more shares look-ups of half the columns.
BRIEF: Final = frozenset(
    {"id", "username", "email", "display_name", "is_active", "status", "version", "created_at"}
)
USERS_BY_ID = user_by(User.id)
BRIEF_USERS_BY_ID = user_by(User.id, user_columns(BRIEF))
USERS_BY_USERNAME = user_by(User.username_key)
USERS_BY_EMAIL = user_by(User.email_key)
USERS_BY_EXTERNAL_ID = user_by(User.external_id)
EVENTS_BY_ID = PreparedStatement(
    select(*EVENT_COLUMNS, UserEvent.id.label("key")).where(among(UserEvent.id, "keys"))
)


def users_listing(
    filter: UserFilter,
    order: Sequence[Sort],
    columns: Sequence[Column[Any]] = USER_COLUMNS,
) -> Listing:
    """List the users that match; the last sort of `order` has to be unique."""
    by_status = order[0].column is User.status
    less_than = BEFORE_DELETED if by_status and not filter.lists_deleted else None
    where = _all(filter.narrowing())
    return Listing(columns, order, filter.within(), where, less_than)


@lru_cache(maxsize=_KEPT)
def everybody(
    order: tuple[tuple[str, bool], ...],
    columns: frozenset[str],
    *,
    after: bool,
    before: bool,
    from_end: bool,
) -> PreparedStatement:
    """Prepare a list of all users: by columns, each with whether it descends."""
    sorts = [Sort(getattr(User, name), descending) for name, descending in order]
    listing = users_listing(UserFilter(), sorts, user_columns(columns))
    return listing.query(after=after, before=before, from_end=from_end)


def users_count(where: ColumnElement[bool]) -> Select[int]:
    return select(func.count()).select_from(User).where(where)


def users_count_at_most(where: ColumnElement[bool], limit: int) -> Select[int]:
    """Count, and stop reading at `limit`."""
    return select(func.count()).select_from(select(User.id).where(where).limit(limit).subquery())


def users_by_status(where: ColumnElement[bool]) -> Select[Any]:
    statement: Select[Any] = select(User.status, func.count().label("users")).where(where)  # type: ignore[assignment]  # Row's columns are read by name
    return statement.group_by(User.status)


def users_to_write(ids: Collection[int], keys: Mapping[str, Sequence[str]]) -> Select[Any]:
    """Select whole users by id, or by a unique value that they hold, and lock them.

    In the order of their ids, so that two who lock the same users never wait for each other.
    """
    by_key = [and_(getattr(User, name).in_(values), NOT_DELETED) for name, values in keys.items()]
    named = or_(*([User.id.in_(ids)] if ids else []), *by_key)
    return select(*_USERS.c).where(named).order_by(User.id).with_for_update()


def users_to_hold(ids: Collection[int]) -> Select[Any]:
    """Select whole users by id, and keep others from writing them."""
    return select(*_USERS.c).where(User.id.in_(ids)).order_by(User.id).with_for_update(read=True)


def users_to_read(ids: Collection[int]) -> Select[Any]:
    return select(*_USERS.c).where(User.id.in_(ids))


def key_holders(keys: Mapping[str, Sequence[str]]) -> Select[int, str, str, str | None]:
    """Select who holds any of these unique values, with all that they hold."""
    held = or_(*(getattr(User, name).in_(values) for name, values in keys.items()))
    columns = (User.id, User.username_key, User.email_key, User.external_id)
    return select(*columns).where(held, NOT_DELETED)


_EVERY_COLUMN: Mapping[str, Any] = {
    c.key: bindparam(c.key, type_=c.type) for c in _USERS.c if not c.primary_key
}

# Each of these runs once, with a list of parameters.
ADD_USERS = (
    # PostgreSQL's construct, whose clause SQLite has taken over to the letter. A row whose unique
    # values are taken is left out of what comes back.
    insert(_USERS).on_conflict_do_nothing().returning(User.id, User.username_key)
)
UPDATE_USERS = update(_USERS).where(User.id == bindparam("row_id")).values(**_EVERY_COLUMN)
FREE_KEYS = (
    update(_USERS)
    .where(User.id == bindparam("row_id"))
    .values(username_key=bindparam("nobody"), email_key=bindparam("nobody"), external_id=None)
)
ADD_EVENTS = insert(_EVENTS)
_ADD_USER = ADD_USERS.values(_EVERY_COLUMN)
ADD_USER = PreparedStatement(_ADD_USER)
_OF_EVENT = {
    c.key: bindparam(f"event_{c.key}", type_=c.type)
    for c in _EVENTS.c
    if c is not _EVENTS.c.id and c is not _EVENTS.c.user_id
}
ADD_EVENT = PreparedStatement(insert(_EVENTS).values(user_id=bindparam("user_id"), **_OF_EVENT))
_ADDED = _ADD_USER.cte("added")
# A user and their event in one statement, for PostgreSQL alone: both are written, or, where a
# unique value is taken, neither is, and no row comes back. Whoever runs it holds the lock on the
# table of events from before the event's id is given out until after the commit, as ever.
ADD_USER_WITH_EVENT = PreparedStatement(
    insert(_EVENTS)
    .from_select(["user_id", *_OF_EVENT], select(_ADDED.c.id, *_OF_EVENT.values()))
    .returning(UserEvent.user_id)
)
REDACT_EVENTS = (
    update(_EVENTS)
    .where(UserEvent.id == bindparam("row_id"))
    .values(changes=bindparam("kept"), reason=None)
)
# What was done by a service that was a user, as it turned out.
REATTRIBUTE_EVENTS = (
    update(_EVENTS)
    .where(UserEvent.id == bindparam("row_id"))
    .values(actor_kind=ActorKind.USER, actor_id=bindparam("user"), actor_label=None)
)


def traces_of(user_ids: Collection[int], subjects: Collection[str]) -> Select[Any]:
    """Select and lock all that happened to users and all that they did, in the events' order.

    `subjects` are those of services that were users.
    """
    traces = or_(UserEvent.user_id.in_(user_ids), _done_by(user_ids, subjects))
    table = _EVENTS.c
    columns = (table.id, table.user_id, table.changes, table.actor_kind, table.actor_id)
    found = select(*columns).where(traces).order_by(UserEvent.id).with_for_update()
    return found.params(subjects=list(subjects))


def forget_actors(user_ids: Collection[int]) -> Update:
    """Take the names of users out of all that they did."""
    return update(_EVENTS).where(_done_by(user_ids)).values(actor_label=None)


def _done_by(user_ids: Collection[int], subjects: Collection[str] = ()) -> Condition:
    ids = [str(user_id) for user_id in user_ids]
    by_users = and_(UserEvent.actor_kind == ActorKind.USER, UserEvent.actor_id.in_(ids))
    if not subjects:
        return by_users
    # One parameter for however many: a user can have had more ids than a statement has parameters.
    theirs = among(UserEvent.actor_id, "subjects")
    return or_(by_users, and_(UserEvent.actor_kind == ActorKind.SERVICE, theirs))


def due_users(now: datetime, limit: int) -> Select[int]:
    """Select and lock deleted users whose time has come, less those that are locked already."""
    due = select(User.id).where(User.erase_after <= now).order_by(User.erase_after, User.id)
    return due.limit(limit).with_for_update(skip_locked=True)


def expired_keys(now: datetime) -> Delete:
    return delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now)


def fields_changed_since(user_ids: Collection[int], version: int) -> Select[int, str, int]:
    """Select the fields of these users that changed after a version, each with its last change.

    The database counts: a user can have any number of versions.
    """
    change = elements_of(UserEvent.changes)
    field = member_of(change.c.value, "field").label("field")
    return (
        select(UserEvent.user_id, field, func.max(UserEvent.version_after).label("version"))
        .join(change, true())
        .where(UserEvent.user_id.in_(user_ids), UserEvent.version_after > version)
        .group_by(UserEvent.user_id, field)
    )


def claim_key(digest: str, fingerprint: str, *, now: datetime, until: datetime) -> Insert:
    """Insert an idempotency key, or take over an expired one; no row comes back where neither."""
    row = {"fingerprint": fingerprint, "answer": null(), "expires_at": until}
    return (
        insert(IdempotencyKey)
        .values(digest=digest, **row)
        .on_conflict_do_update(
            index_elements=[IdempotencyKey.digest],
            set_=row,
            where=IdempotencyKey.expires_at <= now,
        )
        .returning(IdempotencyKey.digest)
    )


def events_until(versions: Mapping[int, int]) -> Select[Any]:
    """Select the events of users up to a version, the earliest first: user id -> version."""
    statement: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
        UserEvent.user_id, UserEvent.at, UserEvent.changes, UserEvent.version_after
    )
    return statement.where(
        UserEvent.user_id.in_(versions), UserEvent.version_after <= max(versions.values())
    ).order_by(UserEvent.version_after)


EVENT_ORDER = (Sort(UserEvent.id),)


def events_listing(filter: EventFilter, until: int | None = None) -> Listing:
    """List the events that match, with ids up to `until`, the earliest first."""
    within = filter.where() if until is None else and_(filter.where(), UserEvent.id <= until)
    return Listing(EVENT_COLUMNS, EVENT_ORDER, within, _all(filter.when()))


def events_between(after: int, until: int, filter: EventFilter, limit: int) -> Select[Any]:
    """Select the events that match, with ids above `after` and up to `until`, in order."""
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
# What an anchor is made of: see `feed/anchors.py`.
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


def _all(conditions: Sequence[Condition]) -> Condition | None:
    return and_(*conditions) if conditions else None


def history_after(user_id: int, event_id: int, limit: int) -> Select[Any]:
    """Select what happened to a user after an event, the earliest first."""
    events = select(*EVENT_COLUMNS).where(UserEvent.user_id == user_id, UserEvent.id > event_id)
    return events.order_by(UserEvent.id).limit(limit)


def actions_after(
    user_id: int, subjects: Collection[str], event_id: int, limit: int
) -> Select[Any]:
    """Select what a user did to others after an event, the earliest first; as a service too.

    `subjects` are those by which they acted as a service.
    """
    to_others = UserEvent.user_id != user_id
    acted = select(*EVENT_COLUMNS).where(
        _done_by([user_id], subjects), to_others, UserEvent.id > event_id
    )
    return acted.order_by(UserEvent.id).limit(limit).params(subjects=list(subjects))


def links_of(user_ids: Collection[int]) -> Select[int, int, list[Change]]:
    """Select the events that changed external ids of users, the earliest first."""
    mention = cast_to(UserEvent.changes, Text()).like('%"externalId"%')
    columns = (UserEvent.id, UserEvent.user_id, UserEvent.changes)
    linked = select(*columns).where(UserEvent.user_id.in_(user_ids), mention)
    return linked.order_by(UserEvent.id)


@lru_cache(maxsize=_KEPT)
def histories(*, after: bool, before: bool, from_end: bool) -> PreparedStatement:
    """Prepare the same window, and one row more, of the histories of several users.

    They are `user_ids`, and end at the watermark `until`; the rest of the parameters are the
    window's.
    """
    window = open_window(EVENT_ORDER, after=after, before=before, from_end=from_end)
    order = [s.reversed() if from_end else s for s in EVENT_ORDER]
    settled = UserEvent.id <= bindparam("until", type_=UserEvent.id.type)
    within = and_(among(UserEvent.user_id, "user_ids"), settled, *bounds(EVENT_ORDER, window))
    position = func.row_number().over(
        partition_by=UserEvent.user_id, order_by=[term(s) for s in order]
    )
    numbered = select(UserEvent.id, position.label("position")).where(within).subquery()
    return PreparedStatement(
        select(*EVENT_COLUMNS)
        .join(numbered, numbered.c.id == UserEvent.id)
        .where(numbered.c.position <= bindparam("rows", type_=Integer()))
        .order_by(UserEvent.user_id, *(term(s) for s in order))
    )


ADD_FEED_EPOCH = insert(FeedEpoch).returning(FeedEpoch.id)
IDENTITY_KEY = select(IdentityKey.key, IdentityKey.secret_verifier)
SET_SECRET = update(IdentityKey).values(secret_verifier=bindparam("verifier"))
FORMER_ID_COLUMNS = tuple(_FORMER_IDS.c)
ADD_FORMER_IDS = insert(_FORMER_IDS).on_conflict_do_nothing()
REKEY_FORMER_ID = (
    update(_FORMER_IDS)
    .where(_FORMER_IDS.c.id == bindparam("row_id"))
    .values(digest=bindparam("new"))
)
_IS_RECORDED = exists().where(
    FormerExternalId.digest == bindparam("digest"), FormerExternalId.released_at.is_(None)
)
_deleted = aliased(User)
# A deleted user who was recorded at no time, released or not: by hand, or by an older version.
_IS_DELETED = exists().where(
    _deleted.external_id == bindparam("external_id"),
    _deleted.status == DELETED,
    ~exists().where(
        FormerExternalId.digest == bindparam("digest"), FormerExternalId.user_id == _deleted.id
    ),
)
# Who a subject is, in one row: the user who has it as an external id, or whether a user had it.
SIGN_IN: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
    User.id.label("user_id"),
    User.status,
    or_(_IS_RECORDED, _IS_DELETED).label("was_a_user"),
    IdentityKey.key,
    IdentityKey.secret_verifier,
).select_from(
    outerjoin(IdentityKey, User, and_(User.external_id == bindparam("external_id"), NOT_DELETED))
)


def former_ids_after(last: int, limit: int) -> Select[int, str]:
    """Select digests in the order of their ids, and lock them."""
    page = select(FormerExternalId.id, FormerExternalId.digest).order_by(FormerExternalId.id)
    return page.where(FormerExternalId.id > last).limit(limit).with_for_update()


def former_ids_of(user_ids: Collection[int]) -> Select[Any]:
    return select(*FORMER_ID_COLUMNS).where(FormerExternalId.user_id.in_(user_ids))


def former_ids_with(digest: str) -> Select[Any]:
    """Select all records of an external id, released ones too, the earliest first."""
    found = select(*FORMER_ID_COLUMNS).where(FormerExternalId.digest == digest)
    return found.order_by(FormerExternalId.id)


def latest_former_ids(limit: int) -> Select[Any]:
    return select(*FORMER_ID_COLUMNS).order_by(FormerExternalId.id.desc()).limit(limit)


def users_with_external_id(external_id: str) -> Select[int, UserStatus]:
    """Select the users that have an external id, deleted ones too."""
    has = User.external_id == external_id
    # One condition for each of the partial indexes.
    either = or_(and_(has, NOT_DELETED), and_(has, User.status == DELETED))
    return select(User.id, User.status).where(either).order_by(User.id)


def release_former_ids(digest: str, *, by: str, reason: str, at: datetime) -> Update:
    return (
        update(_FORMER_IDS)
        .where(_FORMER_IDS.c.digest == digest, _FORMER_IDS.c.released_at.is_(None))
        .values(released_at=at, released_by=by, release_reason=reason)
        .returning(*FORMER_ID_COLUMNS)
    )


API_KEY_COLUMNS = tuple(c for c in _API_KEYS.c if c.key != "digest")
API_KEY_BY_DIGEST = select(*API_KEY_COLUMNS).where(ApiKey.digest == bindparam("digest"))
API_KEYS = select(*API_KEY_COLUMNS).order_by(ApiKey.id)
ADD_API_KEY = insert(_API_KEYS).returning(ApiKey.id)


def revoke_api_key(key_id: int, now: datetime) -> Update:
    """Revoke a key, once: a second time leaves the first date; no row comes back for no key."""
    return (
        update(_API_KEYS)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, now))
        .returning(*API_KEY_COLUMNS)
    )


def mark_api_key_used(key_id: int, now: datetime, unless_since: datetime) -> Update:
    """Note when a key was used, unless it was noted since a moment."""
    used = ApiKey.last_used_at
    return (
        update(_API_KEYS)
        .where(ApiKey.id == key_id, or_(used.is_(None), used < unless_since))
        .values(last_used_at=now)
    )
