"""External ids that users no longer have.

A token whose subject is a former id is rejected, unless a user has the id now or an operator
released it. Records are digests (`db/identity_key.py`), written in the transaction of the change.

    Exception
    └── NothingToReleaseError    no token is rejected for the external id
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db import identity_key
from db.identity_key import IdentityKey
from db.models import Change, User, UserStatus
from db.statements.events import links_of
from db.statements.external_ids import (
    ADD_FORMER_IDS,
    former_ids_of,
    former_ids_with,
    latest_former_ids,
    release_former_ids,
    users_with_external_id,
)
from db.time_slices import partitions, pause_if_due

_BATCH: Final = 1_000

GivenUpId = tuple[int, str, datetime]  # (user id, external id, time of the change)


def given_up(before: User | None, after: User) -> str | None:
    # A new external id or a deletion takes the old one from the user.
    if before is None or before.external_id is None:
        return None
    deleted = after.status is UserStatus.DELETED
    return before.external_id if deleted or after.external_id != before.external_id else None


async def record(session: AsyncSession, former: Collection[GivenUpId]) -> None:
    key = await identity_key.load(session, hold=True)
    rows = [_row(key, *each) for each in former]
    await session.execute(ADD_FORMER_IDS, rows)


def _row(key: IdentityKey, user_id: int, external_id: str, at: datetime) -> dict[str, Any]:
    return {"digest": key.digest(external_id), "user_id": user_id, "recorded_at": at}


def external_ids_of(user: User | Row[Any], history: Iterable[Sequence[Change]]) -> set[str]:
    # The changes of events contain the former ids.
    given = {
        change[side]
        for changes in history
        for change in changes
        if change["field"] == "externalId"
        for side in ("before", "after")
    }
    return {external_id for external_id in (*given, user.external_id) if external_id is not None}


async def unreleased(
    session: AsyncSession, user_id: int, external_ids: Collection[str]
) -> set[str]:
    # An id without a record was not released.
    key = await identity_key.load(session)
    in_effect = await _in_effect(session, [user_id])
    return {i for i in external_ids if in_effect.get((user_id, key.digest(i)), True)}


async def record_erased(
    session: AsyncSession, users: Collection[User], at: datetime
) -> Mapping[str, int]:
    """Record all external ids of users before an erasure redacts the history.

    Returns the user id of each external id, except released ones.
    """
    given = await _known_ids(session, users)
    if not given:
        return {}
    key = await identity_key.load(session, hold=True)
    in_effect = await _in_effect(session, [user.id for user in users])
    subjects: dict[str, int] = {}
    missing: list[dict[str, Any]] = []
    for user_id, external_id in given:
        await pause_if_due()
        row = _row(key, user_id, external_id, at)
        is_in_effect = in_effect.get((user_id, row["digest"]))
        if is_in_effect is None:
            missing.append(row)
        if is_in_effect is not False:
            subjects[external_id] = user_id
    for start in range(0, len(missing), _BATCH):
        await pause_if_due()
        await session.execute(ADD_FORMER_IDS, missing[start : start + _BATCH])
    return subjects


async def _known_ids(session: AsyncSession, users: Collection[User]) -> list[tuple[int, str]]:
    histories: dict[int, list[Sequence[Change]]] = {user.id: [] for user in users}
    async for events in partitions(await session.execute(links_of(histories))):
        for event in events:
            histories[event.user_id].append(event.changes)
    return [(u.id, given) for u in users for given in external_ids_of(u, histories[u.id])]


async def _in_effect(
    session: AsyncSession, user_ids: Collection[int]
) -> Mapping[tuple[int, str], bool]:
    """Map the (user id, digest) of all records to whether one is not released."""
    found: dict[tuple[int, str], bool] = {}
    async for rows in partitions(await session.execute(former_ids_of(user_ids))):
        for row in rows:
            key = (row.user_id, row.digest)
            found[key] = row.released_at is None or found.get(key, False)
    return found


@dataclass(frozen=True, slots=True)
class Holder:
    """A user with an external id. A deleted user has it again when restored."""

    user_id: int
    status: UserStatus


@dataclass(frozen=True, slots=True)
class FormerId:
    """A record that a user gave up an external id, with its release by an operator if any."""

    id: int
    user_id: int
    recorded_at: datetime
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> "FormerId":
        columns = row._asdict()
        del columns["digest"]
        return cls(**columns)


class NothingToReleaseError(Exception):
    """No token is rejected for the external id. The message does not contain the id."""


async def latest(session: AsyncSession, limit: int) -> list[FormerId]:
    return [FormerId.of(row) for row in await session.execute(latest_former_ids(limit))]


async def holders(session: AsyncSession, external_id: str) -> list[Holder]:
    rows = await session.execute(users_with_external_id(external_id))
    return [Holder(row.id, row.status) for row in rows]


async def records_of(session: AsyncSession, external_id: str) -> list[FormerId]:
    digest = (await identity_key.load(session)).digest(external_id)
    return [FormerId.of(row) for row in await session.execute(former_ids_with(digest))]


async def release(
    session: AsyncSession, external_id: str, *, by: str, reason: str, at: datetime
) -> list[FormerId]:
    """Accept tokens with this subject as a service again. Returns the released records.

    Raises NothingToReleaseError.
    """
    having = await holders(session, external_id)
    if current := [holder for holder in having if holder.status is not UserStatus.DELETED]:
        raise NothingToReleaseError(
            f"there is nothing to release: user {current[0].user_id} has this external id, and a "
            "token with it signs in as this user"
        )
    key = await identity_key.load(session, hold=True)
    recorded = {record.user_id for record in await records_of(session, external_id)}
    if missing := [holder.user_id for holder in having if holder.user_id not in recorded]:
        rows = [_row(key, user_id, external_id, at) for user_id in missing]
        await session.execute(ADD_FORMER_IDS, rows)
    statement = release_former_ids(key.digest(external_id), by=by, reason=reason, at=at)
    released = [FormerId.of(row) for row in await session.execute(statement)]
    if not released:
        earlier = await records_of(session, external_id)
        raise NothingToReleaseError(_nothing(earlier))
    return sorted(released, key=lambda record: record.id)


def _nothing(earlier: Sequence[FormerId]) -> str:
    if not earlier:
        return "there is nothing to release: no user is known to have had this external id"
    last = earlier[-1]
    return (
        f"there is nothing to release: record {last.id} was released on "
        f"{last.released_at:%Y-%m-%d %H:%M}Z by {last.released_by}"
    )
