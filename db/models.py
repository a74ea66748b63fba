"""The tables: columns, constraints and indexes, each with an explicit name."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Final, NotRequired, Self, TypedDict
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    MetaData,
    Row,
    String,
    UniqueConstraint,
    Uuid,
    and_,
)
from sqlalchemy import Enum as EnumColumn
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.column_types import (
    Id,
    Json,
    Lines,
    RandomUuid,
    UtcDateTime,
    code_point_text,
    nulls_last,
)
from db.unspaced import has_unspaced, spaced_column

USERNAME_LENGTH = 64
EMAIL_LENGTH = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
DISPLAY_NAME_LENGTH = 200
EXTERNAL_ID_LENGTH = 255
REASON_LENGTH = 500
API_KEY_NAME_LENGTH = 100
DIGEST_LENGTH = 64  # SHA-256 in hexadecimal digits
# Case folding can lengthen a text: U+0390 becomes three characters.
FOLDED_GROWTH = 3


class UserStatus(StrEnum):
    ACTIVE = "ACTIVE"
    DEACTIVATED = "DEACTIVATED"
    DELETED = "DELETED"


class UserEventType(StrEnum):
    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DEACTIVATED = "DEACTIVATED"
    REACTIVATED = "REACTIVATED"
    DELETED = "DELETED"
    RESTORED = "RESTORED"
    ERASED = "ERASED"


class ActorKind(StrEnum):
    USER = "user"
    SERVICE = "service"
    SYSTEM = "system"


class Change(TypedDict):
    """One changed field of an event, as stored in the event's `changes` column.

    `redacted` is present, and true, if the values were erased.
    """

    field: str
    before: str | None
    after: str | None
    redacted: NotRequired[bool]


class Model(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _named(enum: type[Enum], constraint: str) -> EnumColumn:
    # Text with a check constraint: a new value is a simple migration.
    return EnumColumn(
        enum,
        native_enum=False,
        create_constraint=True,
        length=16,
        name=constraint,
        values_callable=lambda values: [value.value for value in values],
    )


def _searchable(
    name: str, value: ColumnElement[Any], where: ColumnElement[bool] | None = None
) -> Index:
    # For substring search. SQLite has no such index.
    return Index(
        f"ix_users_{name}_trgm",
        value.label(name),
        postgresql_using="gin",
        postgresql_ops={name: "gin_trgm_ops"},
        postgresql_where=where,
    ).ddl_if(dialect="postgresql")


class User(Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    username: Mapped[str] = mapped_column(code_point_text(USERNAME_LENGTH))
    username_key: Mapped[str] = mapped_column(code_point_text(USERNAME_LENGTH * FOLDED_GROWTH))
    email: Mapped[str] = mapped_column(code_point_text(EMAIL_LENGTH))
    email_key: Mapped[str] = mapped_column(code_point_text(EMAIL_LENGTH * FOLDED_GROWTH))
    display_name: Mapped[str | None] = mapped_column(code_point_text(DISPLAY_NAME_LENGTH))
    display_name_key: Mapped[str | None] = mapped_column(code_point_text())
    external_id: Mapped[str | None] = mapped_column(code_point_text(EXTERNAL_ID_LENGTH))
    external_id_key: Mapped[str | None] = mapped_column(code_point_text())
    is_active: Mapped[bool]
    status: Mapped[UserStatus] = mapped_column(_named(UserStatus, "userstatus"))
    status_reason: Mapped[str | None] = mapped_column(code_point_text(REASON_LENGTH))
    status_changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    erase_after: Mapped[datetime | None] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Tells the row from another that gets the same id after a restore. None for users from before
    # this column.
    random_id: Mapped[UUID | None] = mapped_column(Uuid(), insert_default=RandomUuid())

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        return cls.having(row._asdict())

    @classmethod
    def having(cls, columns: Mapping[str, Any]) -> Self:
        """Create a detached user from all columns.

        This is how a session creates an instance from a row. The constructor would record each
        value as a change.
        """
        user: Self = cls.__mapper__.class_manager.new_instance()
        user.__dict__.update(columns)
        return user

    __table_args__ = (
        CheckConstraint("is_active = (status = 'ACTIVE')", "is_active_follows_status"),
        CheckConstraint("(deleted_at IS NOT NULL) = (status = 'DELETED')", "deleted_at"),
        CheckConstraint("version > 0", "version"),
        # One index for each order. The id breaks ties and keeps every page stable.
        Index(None, "created_at", "id"),
        Index(None, "updated_at", "id"),
        Index(None, "username_key", "id"),
        Index(None, "email_key", "id"),
        Index(None, "status", "id"),
        # One index for each order of the users in one status.
        Index(None, "status", "created_at", "id"),
        Index(None, "status", "updated_at", "id"),
        Index(None, "status", "username_key", "id"),
        Index(None, "status", "email_key", "id"),
        Index(None, "status_changed_at"),
        Index(None, "external_id_key"),
    )


# One text for the trigram index, which finds all words of a search in one scan.
USER_KEYS: Final = Lines(User.username_key, User.email_key, User.display_name_key)
SEARCH_INDEXES = (
    _searchable("unspaced_keys", spaced_column(USER_KEYS), where=has_unspaced(USER_KEYS)),
    _searchable("keys", USER_KEYS),
    _searchable("external_id_key", User.external_id_key.expression),
)

_display_name = nulls_last(User.display_name_key)
DISPLAY_NAME_INDEXES = (
    Index("ix_users_display_name_key_id", _display_name, User.id),
    Index("ix_users_status_display_name_key_id", User.status, _display_name, User.id),
)

_scheduled = User.erase_after.is_not(None)
ERASE_AFTER_INDEX = Index(
    "ix_users_erase_after",
    User.erase_after,
    postgresql_where=_scheduled,
    sqlite_where=_scheduled,
)


def _free_after_deletion(column: str) -> Index:
    # Unique among the users that are not deleted: deletion frees the value.
    kept = User.status != UserStatus.DELETED
    name = f"uq_users_{column}"
    # A literal in the index's text: an index predicate takes no parameters.
    return Index(name, getattr(User, column), unique=True, postgresql_where=kept, sqlite_where=kept)


UNIQUE_USER_INDEXES = tuple(
    _free_after_deletion(column) for column in ("username_key", "email_key", "external_id")
)


_linked_when_deleted = and_(User.status == UserStatus.DELETED, User.external_id.is_not(None))
DELETED_LINKS_INDEX = Index(
    "ix_users_external_id_of_deleted",
    User.external_id,
    postgresql_where=_linked_when_deleted,
    sqlite_where=_linked_when_deleted,
)


class UserEvent(Model):
    """One change of one user: an entry of `User.history` and of the feed.

    An event outlives its user. Erasure removes the personal data from it.
    """

    __tablename__ = "user_events"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    type: Mapped[UserEventType] = mapped_column(_named(UserEventType, "usereventtype"))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor_kind: Mapped[ActorKind] = mapped_column(_named(ActorKind, "actorkind"))
    actor_id: Mapped[str | None] = mapped_column(code_point_text(255))
    actor_label: Mapped[str | None] = mapped_column(code_point_text(255))
    reason: Mapped[str | None] = mapped_column(code_point_text(REASON_LENGTH))
    request_id: Mapped[str | None] = mapped_column(code_point_text(64))
    changes: Mapped[list[Change]] = mapped_column(Json)
    version_after: Mapped[int]

    __table_args__ = (
        # One event for each version of a user. A change with no event or with two fails.
        UniqueConstraint("user_id", "version_after"),
        Index(None, "user_id", "id"),
        Index(None, "actor_id", "id"),
        Index(None, "type", "id"),
        Index(None, "at"),
    )


class FeedEpoch(Model):
    """A period in which cursors of events are issued. The newest row is the current epoch.

    `epoch_id` is random. It is part of the mark of every cursor (`feed/anchors.py`).
    """

    __tablename__ = "feed_epochs"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    epoch_id: Mapped[str] = mapped_column(code_point_text(32))
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(code_point_text(REASON_LENGTH))


class PrimaryTerm(Model):
    """A period with the same primary, in which positions in its log can be compared.

    The newest row is the current term. `lineage` identifies the cluster, its timeline and the
    database. `name` is random: a replica that has the row follows this primary, and no other one
    with the same timeline. Only used with replicas (`db/replication`).
    """

    __tablename__ = "primary_terms"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(code_point_text(16))
    lineage: Mapped[str] = mapped_column(code_point_text(64))
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)


class IdempotencyKey(Model):
    """The stored result of a request: a repeated request returns it and is not executed again.

    It contains no personal data. The caller's key and the input are stored as keyed digests, and
    the result refers to users by id and version.
    """

    __tablename__ = "idempotency_keys"

    digest: Mapped[str] = mapped_column(code_point_text(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(code_point_text(64))
    answer: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ApiKey(Model):
    """A service's API key. Only its digest is stored, not its secret."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(code_point_text(API_KEY_NAME_LENGTH))
    digest: Mapped[str] = mapped_column(code_point_text(64))
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (UniqueConstraint("digest"),)


class IdentityKey(Model):
    """The key of the digests of external ids: one row, written by the migration.

    `secret_verifier` is set if the digests are also keyed with ROSTER_IDENTITY_SECRET
    (`db/identity_key.py`).
    """

    __tablename__ = "identity_keys"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(code_point_text(DIGEST_LENGTH))
    secret_verifier: Mapped[str | None] = mapped_column(code_point_text(DIGEST_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (CheckConstraint("id = 1", "one_row"),)


class FormerExternalId(Model):
    """An external id that a user had and no longer has.

    A token with it does not identify a service.

    A released record has no effect. It is kept because it records who released it and why.
    """

    __tablename__ = "former_external_ids"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(code_point_text(DIGEST_LENGTH))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_by: Mapped[str | None] = mapped_column(code_point_text(255))
    release_reason: Mapped[str | None] = mapped_column(code_point_text(REASON_LENGTH))

    __table_args__ = (Index(None, "user_id"), Index(None, "digest"))


_in_effect = FormerExternalId.released_at.is_(None)
FORMER_IDS_INDEX = Index(
    "uq_former_external_ids_digest_user_id",
    FormerExternalId.digest,
    FormerExternalId.user_id,
    unique=True,
    postgresql_where=_in_effect,
    sqlite_where=_in_effect,
)


class SchemaCompatibility(Model):
    """The oldest revision whose code can still run on this schema: one row."""

    __tablename__ = "schema_compatibility"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    min_compatible_revision: Mapped[str] = mapped_column(String(32))

    __table_args__ = (CheckConstraint("id = 1", "one_row"),)


# `User.having` bypasses the constructor, which would otherwise configure the mappers.
Model.registry.configure()
