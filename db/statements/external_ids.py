"""Statements on external ids: authentication, and the ids of former users."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    Select,
    Table,
    Update,
    and_,
    bindparam,
    exists,
    or_,
    outerjoin,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from db.filters import (
    DELETED,
    NOT_DELETED,
)
from db.models import (
    FormerExternalId,
    IdentityKey,
    User,
    UserStatus,
)

_FORMER_IDS = cast("Table", FormerExternalId.__table__)
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
# A deleted user without any record, released or not: deleted by hand or by an older version.
_IS_DELETED = exists().where(
    _deleted.external_id == bindparam("external_id"),
    _deleted.status == DELETED,
    ~exists().where(
        FormerExternalId.digest == bindparam("digest"), FormerExternalId.user_id == _deleted.id
    ),
)
# Identifies a subject in one row: the user with this external id, or whether a user had it.
SIGN_IN: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
    User.id.label("user_id"),
    User.status,
    or_(_IS_RECORDED, _IS_DELETED).label("was_a_user"),
    IdentityKey.key,
    IdentityKey.secret_verifier,
).select_from(
    outerjoin(IdentityKey, User, and_(User.external_id == bindparam("external_id"), NOT_DELETED))
)


USER_BY_ID: Select[Any] = select(  # type: ignore[assignment]  # its columns are read by name
    User.id, User.status, User.external_id
).where(User.id == bindparam("user_id"))


def users_named(
    user_ids: Collection[int], username_key: str | None, email_key: str | None
) -> Select[int, str, UserStatus]:
    """Select the users with any of these keys. Deleted users are found only by id."""
    named = or_(User.username_key == username_key, User.email_key == email_key)
    return (
        select(User.id, User.username, User.status)
        .where(or_(User.id.in_(user_ids), and_(named, NOT_DELETED)))
        .order_by(User.id)
    )


def former_ids_after(last: int, limit: int) -> Select[int, str]:
    page = select(FormerExternalId.id, FormerExternalId.digest).order_by(FormerExternalId.id)
    return page.where(FormerExternalId.id > last).limit(limit).with_for_update()


def former_ids_of(user_ids: Collection[int]) -> Select[Any]:
    return select(*FORMER_ID_COLUMNS).where(FormerExternalId.user_id.in_(user_ids))


def former_ids_with(digest: str) -> Select[Any]:
    found = select(*FORMER_ID_COLUMNS).where(FormerExternalId.digest == digest)
    return found.order_by(FormerExternalId.id)


def latest_former_ids(limit: int) -> Select[Any]:
    return select(*FORMER_ID_COLUMNS).order_by(FormerExternalId.id.desc()).limit(limit)


def users_with_external_id(external_id: str) -> Select[int, UserStatus]:
    """Select the users with an external id, including deleted ones."""
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
