"""Writes a change set, with one statement for each kind of change regardless of its size."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from db.errors import is_unique_violation
from db.models import ActorKind
from db.session import Session
from db.statements.events import (
    ADD_EVENTS,
    REATTRIBUTE_EVENTS,
    REDACT_EVENTS,
    forget_actors,
    traces_of,
)
from db.statements.users import ADD_USERS, FREE_KEYS, UPDATE_USERS
from db.time_slices import partitions, pause_if_due
from users import erasures, former_ids
from users.changeset import ChangeSet
from users.commands import UniquenessRace
from users.entity import row_of
from users.recorder import redacted


async def write(session: Session, change_set: ChangeSet) -> None:
    """Write in the transaction of the session. Raises UniquenessRace."""
    await pause_if_due()
    try:
        if vacating := [
            {"row_id": user.id, "freed": f" {user.id}"} for user in change_set.vacating()
        ]:
            await session.execute(FREE_KEYS, vacating)
        if updated := [row_of(user) | {"row_id": user.id} for user in change_set.updated]:
            await session.execute(UPDATE_USERS, updated)
    except IntegrityError as error:
        if is_unique_violation(error):
            raise UniquenessRace from None
        raise
    await _insert(session, change_set)
    if change_set.former:
        await former_ids.record(session, change_set.former)
    if change_set.erased:
        await _redact(session, change_set)
    if change_set.events:
        await pause_if_due()
        await session.execute(ADD_EVENTS, change_set.events)
    erasures.record(session, change_set.erasures.values())


async def _insert(session: Session, change_set: ChangeSet) -> None:
    """Insert the new users, and replace their temporary ids in the change set."""
    if not change_set.created:
        return
    await pause_if_due()
    added = await session.execute(ADD_USERS, [row_of(user) for user in change_set.created])
    ids = {row.username_key: row.id for row in added}
    if len(ids) < len(change_set.created):
        raise UniquenessRace
    new_ids = {user.id: ids[user.username_key] for user in change_set.created}
    for user in change_set.drafts:
        user.id = new_ids[user.id]
    for event in change_set.events:
        event["user_id"] = new_ids.get(event["user_id"], event["user_id"])
    change_set.former = [
        (new_ids.get(user_id, user_id), *rest) for user_id, *rest in change_set.former
    ]


async def _redact(session: Session, change_set: ChangeSet) -> None:
    ids = set(change_set.erased)
    at = change_set.users[change_set.erased[0]].updated_at
    users = [
        change_set.snapshot.users[user_id] for user_id in ids & change_set.snapshot.users.keys()
    ]
    subjects = await former_ids.record_erased(session, users, at)
    async for rows in partitions(await session.execute(traces_of(ids, subjects))):
        if acted := list(_acted_as_service(rows, subjects)):
            await session.execute(REATTRIBUTE_EVENTS, acted)
        theirs = [row for row in rows if row.user_id in ids]
        if events := [{"row_id": row.id, "kept": redacted(row.changes)} for row in theirs]:
            await session.execute(REDACT_EVENTS, events)
    await session.execute(forget_actors(ids))


def _acted_as_service(
    events: Iterable[Row[Any]], subjects: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield updates for events of services whose actor is an external id of a user.

    `subjects` maps external ids to user ids. The token was used before the user had the id or, with
    an earlier version of Roster, after a deletion.
    """
    # The subject is personal data, so the id of the user replaces it.
    for event in events:
        if event.actor_kind is ActorKind.SERVICE and event.actor_id in subjects:
            yield {"row_id": event.id, "user": str(subjects[event.actor_id])}
