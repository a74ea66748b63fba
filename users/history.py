"""Earlier versions of users, reconstructed from their events."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import User, UserStatus
from db.statements.events import events_until
from db.statements.users import users_to_read
from db.time_slices import partitions
from users.entity import with_columns
from users.recorder import RECORDED_FIELDS

Version = tuple[int, int]  # (user id, version)

_ATTRIBUTES = {field: name for name, field in RECORDED_FIELDS.items()}


async def as_of(session: AsyncSession, versions: Collection[Version]) -> dict[Version, User]:
    """Return users at these versions, without the key columns.

    An erased user is returned in the current version.
    """
    if not versions:
        return {}
    newest: dict[int, int] = {}
    for user_id, version in versions:
        newest[user_id] = max(version, newest.get(user_id, version))
    # Events first: if a user is erased between the two reads, the user row shows it.
    then = await _columns_of(session, newest, versions)
    rows = await session.execute(users_to_read(newest))
    now = {row.id: User.of(row) for row in rows}
    return {
        (user_id, version): now[user_id]
        if now[user_id].version == version or now[user_id].erased_at
        else with_columns(now[user_id], then[user_id, version])
        for user_id, version in versions
    }


async def _columns_of(
    session: AsyncSession, newest: Mapping[int, int], versions: Collection[Version]
) -> dict[Version, dict[str, Any]]:
    # The number of a user's events is unbounded, so they are streamed.
    begin = dict.fromkeys(RECORDED_FIELDS) | {"deleted_at": None}
    columns: dict[int, dict[str, Any]] = {user_id: dict(begin) for user_id in newest}
    then = {}
    async for events in partitions(await session.execute(events_until(newest))):
        for event in events:
            version = (event.user_id, event.version_after)
            _apply(event, columns[event.user_id])
            if version in versions:
                then[version] = dict(columns[event.user_id])
    return then


def _apply(event: Row[Any], columns: dict[str, Any]) -> None:
    columns["version"] = event.version_after
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
