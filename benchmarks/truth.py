"""The database's content, which every server's answers must match."""

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
    """The expected answers, without ids, cursors and times in the server's own format."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def user(self, keys: Sequence[int]) -> Answer:
        (found,) = await self._connection.fetch(_BY_ID, keys)
        return {"user": _user(found)}

    async def aliases(self, keys: Sequence[int]) -> Answer:
        found = {row["id"]: _user(row) for row in await self._connection.fetch(_BY_ID, keys)}
        return {f"u{n}": found[key] for n, key in enumerate(keys)}

    async def page(self, first: int) -> Answer:
        """Return the users of the first page, with a next page and no previous one."""
        nodes = [_user(row) for row in await self._connection.fetch(_NEWEST, first)]
        return {"users": (nodes, (True, False))}

    async def written(self, username: str) -> tuple[Answer, Answer]:
        """Return all columns of a new user and of their only event."""
        (row,) = await self._connection.fetch(_WRITTEN, username)
        return json.loads(row["kept"]), json.loads(row["event"])

    async def counts(self) -> tuple[int, int]:
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
    """Truncate to milliseconds, which is JavaScript's precision."""
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def rows_of(given: dict[str, str], user: Answer, event: Answer) -> tuple[Answer, Answer]:
    """Return both rows as a creation must leave them. Ids, time and actor are copied."""
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
        "random_id": user["random_id"],
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
