"""Events: actor, reason, and the values before and after a change."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.models import ActorKind, Change, User, UserEventType


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change, as known at that time.

    The `id` of a user is the id in the database, as text. `label` can be a name.
    """

    kind: ActorKind
    id: str | None = None
    label: str | None = None


# Attribute -> API field. `isActive` is derived from the status, and the keys from their texts. The
# version and times are columns of the event.
RECORDED_FIELDS = {
    "username": "username",
    "email": "email",
    "display_name": "displayName",
    "external_id": "externalId",
    "status": "status",
    "status_reason": "statusReason",
    "erase_after": "eraseAfter",
}
_PERSONAL = frozenset({"username", "email", "displayName", "externalId", "statusReason"})

Event = dict[str, Any]  # the columns of a UserEvent, without its id


@dataclass(frozen=True, slots=True)
class Recorder:
    """Creates the events of one actor and request."""

    actor: Actor
    request_id: str | None

    def event(
        self, type: UserEventType, before: User | None, after: User, reason: str | None
    ) -> Event:
        changes = _differences(before, after)
        return {
            "user_id": after.id,
            "type": type,
            "at": after.updated_at,
            "actor_kind": self.actor.kind,
            "actor_id": self.actor.id,
            "actor_label": self.actor.label,
            "reason": reason,
            "request_id": self.request_id,
            "changes": redacted(changes) if type is UserEventType.ERASED else changes,
            "version_after": after.version,
        }


def redacted(changes: Iterable[Change]) -> list[Change]:
    """Remove the values of personal fields. The entries stay, marked as redacted."""
    return [
        Change(field=change["field"], before=None, after=None, redacted=True)
        if change["field"] in _PERSONAL
        else change
        for change in changes
    ]


def _differences(before: User | None, after: User) -> list[Change]:
    old, new = vars(before) if before else {}, vars(after)
    return [
        Change(field=field, before=_text(old.get(name)), after=_text(new[name]))
        for name, field in _FIELDS
        if old.get(name) != new[name]
    ]


_FIELDS = tuple(RECORDED_FIELDS.items())


def _text(value: object) -> str | None:
    if value is None or type(value) is str:
        return value
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
