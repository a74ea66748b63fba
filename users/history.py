"""Users as they were: every version can be told from the events that led to it."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import User, UserStatus
from db.statements import events_until, users_to_read
from users.events import RECORDED_FIELDS
from users.plan import changed

Version = tuple[int, int]  # a user's id, and their version

_ATTRIBUTES = {field: name for name, field in RECORDED_FIELDS.items()}


async def as_of(session: AsyncSession, versions: Collection[Version]) -> dict[Version, User]:
    """Give users as they were when they had these versions, less the keys that indexes need.

    An erased user is given as they are.
    """
    if not versions:
        return {}
    newest: dict[int, int] = {}
    for user_id, version in versions:
        newest[user_id] = max(version, newest.get(user_id, version))
    # The events first: where they were erased between the two reads, the user is seen to be.
    events: dict[int, list[Row[Any]]] = {user_id: [] for user_id in newest}
    for event in await session.execute(events_until(newest)):
        events[event.user_id].append(event)
    rows = await session.execute(users_to_read(newest))
    now = {row.id: User.of(row) for row in rows}
    return {
        (user_id, version): now[user_id]
        if now[user_id].version == version or now[user_id].erased_at
        else _told(now[user_id], version, events[user_id])
        for user_id, version in versions
    }


def _told(now: User, version: int, events: Iterable[Row[Any]]) -> User:
    columns: dict[str, Any] = dict.fromkeys(RECORDED_FIELDS)
    columns |= {"version": version, "deleted_at": None}
    for event in events:
        if event.version_after > version:
            break
        columns["updated_at"] = event.at
        for change in event.changes:
            columns[_ATTRIBUTES[change["field"]]] = change["after"]
            if change["field"] == "eraseAfter" and change["after"]:
                columns["erase_after"] = datetime.fromisoformat(change["after"])
            if change["field"] == "status":
                status = UserStatus(change["after"])
                columns["status"] = status
                columns["is_active"] = status is UserStatus.ACTIVE
                columns["status_changed_at"] = event.at
                columns["deleted_at"] = event.at if status is UserStatus.DELETED else None
    return changed(now, columns)
