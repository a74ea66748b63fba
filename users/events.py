"""The event that a change leaves: who, what, why, before and after."""

from dataclasses import dataclass
from datetime import datetime

from db.models import ActorKind, Change, User, UserEvent, UserEventType


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, as it was known when it did."""

    kind: ActorKind
    id: str | None = None
    label: str | None = None


# Attribute -> the field's name in the API. `isActive` follows from the status; the keys from their
# texts; version and times are the event's own.
RECORDED_FIELDS = {
    "username": "username",
    "email": "email",
    "display_name": "displayName",
    "external_id": "externalId",
    "status": "status",
    "status_reason": "statusReason",
}

Snapshot = dict[str, str | None]


def snapshot(user: User) -> Snapshot:
    """Take down what an event records of a user."""
    return {name: getattr(user, name) for name in RECORDED_FIELDS}


NOTHING: Snapshot = dict.fromkeys(RECORDED_FIELDS)


def differences(before: Snapshot, after: Snapshot) -> list[Change]:
    """List the fields that differ, in the order of the schema."""
    return [
        Change(field=field, before=_text(before[name]), after=_text(after[name]))
        for name, field in RECORDED_FIELDS.items()
        if before[name] != after[name]
    ]


def event(
    type: UserEventType,
    user: User,
    before: Snapshot,
    *,
    actor: Actor,
    at: datetime,
    reason: str | None,
    request_id: str | None,
) -> UserEvent:
    return UserEvent(
        user_id=user.id,
        type=type,
        at=at,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label,
        reason=reason,
        request_id=request_id,
        changes=differences(before, snapshot(user)),
        version_after=user.version,
    )


def _text(value: str | None) -> str | None:
    return None if value is None else str(value)
