"""What the database has, which every server has to answer."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

_USERS = "SELECT id, username, email, status, created_at FROM users"
_BY_ID = f"{_USERS} WHERE id = ANY($1::bigint[])"
_NEWEST = f"{_USERS} WHERE status != 'DELETED' ORDER BY created_at DESC, id DESC LIMIT $1"
_WRITTEN = """SELECT to_jsonb(users) AS kept, to_jsonb(user_events) AS event FROM users
  JOIN user_events ON user_id = users.id WHERE username = $1"""
_COUNTS = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM user_events)"

Answer = dict[str, Any]


class Truth:
    """Gives answers as they have to be, less what each server may write in its own way."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def user(self, keys: Sequence[int]) -> Answer:
        (found,) = await self._connection.fetch(_BY_ID, keys)
        return {"user": _user(found)}

    async def aliases(self, keys: Sequence[int]) -> Answer:
        found = {row["id"]: _user(row) for row in await self._connection.fetch(_BY_ID, keys)}
        return {f"u{n}": found[key] for n, key in enumerate(keys)}

    async def page(self, first: int) -> Answer:
        """Give the users of the first page, and that it goes on after it and not before."""
        nodes = [_user(row) for row in await self._connection.fetch(_NEWEST, first)]
        return {"users": (nodes, (True, False))}

    async def written(self, username: str) -> tuple[Answer, Answer]:
        """Give all columns of a new user and of the one event that they have."""
        (row,) = await self._connection.fetch(_WRITTEN, username)
        return json.loads(row["kept"]), json.loads(row["event"])

    async def counts(self) -> tuple[int, int]:
        """Count the users and the events."""
        users, events = await self._connection.fetchrow(_COUNTS)
        return users, events


def _user(row: Any) -> Answer:
    return {
        "id": row["id"],
        "username": row["username"],
        "email": row["email"],
        "status": row["status"],
        "createdAt": milliseconds(row["created_at"]),
    }


def milliseconds(at: datetime) -> datetime:
    """Cut a moment to what JavaScript can tell of it."""
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def rows_of(given: dict[str, str], user: Answer, event: Answer) -> tuple[Answer, Answer]:
    """Give both rows as a creation has to leave them; ids, the time and the actor as they are."""
    name, email, shown, at = *given.values(), user["created_at"]
    after = {**given, "status": "ACTIVE"}
    wanted_user = {
        "id": user["id"],
        "username": name,
        "username_key": name.lower(),
        "email": email,
        "email_key": email.lower(),
        "display_name": shown,
        "display_name_key": shown.lower(),
        "external_id": None,
        "external_id_key": None,
        "is_active": True,
        "status": "ACTIVE",
        "status_reason": None,
        "status_changed_at": at,
        "version": 1,
        "created_at": at,
        "updated_at": at,
        "deleted_at": None,
        "erase_after": None,
        "erased_at": None,
    }
    wanted_event = {
        "id": event["id"],
        "user_id": user["id"],
        "type": "CREATED",
        "at": at,
        **{name: event[name] for name in ("actor_kind", "actor_id", "actor_label", "request_id")},
        "reason": None,
        "changes": [{"field": f, "before": None, "after": value} for f, value in after.items()],
        "version_after": 1,
    }
    assert event["request_id"]
    assert event["actor_kind"] in {"system", "service"}
    return wanted_user, wanted_event
