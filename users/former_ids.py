"""External ids that users gave up, and what was done under them.

A token whose subject is one of them is not accepted, unless a user has it by now or the record was
released. Records are digests (`db/identity_key.py`), written in the transaction of the change.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from db import identity_key
from db.identity_key import IdentityKey
from db.models import Change, User, UserStatus
from db.statements import (
    ADD_FORMER_IDS,
    former_ids_of,
    former_ids_with,
    latest_former_ids,
    links_of,
    release_former_ids,
    users_with_external_id,
)
from db.time_slices import partitions

Former = tuple[int, str, datetime]  # a user's id, an external id, and when it was given up
# External id -> the id of the event that gave it to a user; 0 if it is in no event.
Links = Mapping[str, int]


def given_up(before: User | None, after: User) -> str | None:
    """Return the external id that a change takes from a user."""
    if before is None or before.external_id is None:
        return None
    deleted = after.status is UserStatus.DELETED
    return before.external_id if deleted or after.external_id != before.external_id else None


async def record(session: AsyncSession, former: Collection[Former]) -> None:
    key = await identity_key.load(session, hold=True)
    rows = [_row(key, *each) for each in former]
    await session.execute(ADD_FORMER_IDS, rows)


def _row(key: IdentityKey, user_id: int, external_id: str, at: datetime) -> dict[str, Any]:
    return {"digest": key.digest(external_id), "user_id": user_id, "recorded_at": at}


def links_in(history: Iterable[tuple[int, Sequence[Change]]], user: User | Row[Any]) -> Links:
    """Collect the external ids that a user has or had, by their events in order: id, changes."""
    found: dict[str, int] = {}
    for event_id, changes in history:
        for change in changes:
            if change["field"] == "externalId":
                for value, since in ((change["before"], 0), (change["after"], event_id)):
                    if value is not None:
                        found.setdefault(value, since)
    if user.external_id is not None:
        found.setdefault(user.external_id, 0)
    return found


@dataclass(frozen=True, slots=True)
class Records:
    """The records of some users, released ones too."""

    key: IdentityKey
    _in_effect: Mapping[tuple[int, str], bool]

    @classmethod
    def of(cls, key: IdentityKey, rows: Iterable[Row[Any]]) -> "Records":
        in_effect: dict[tuple[int, str], bool] = defaultdict(bool)
        for row in rows:
            in_effect[row.user_id, row.digest] |= row.released_at is None
        return cls(key, in_effect)

    def missing(self, user_id: int, links: Links) -> list[str]:
        return [i for i in links if (user_id, self.key.digest(i)) not in self._in_effect]

    def unreleased(self, user_id: int, links: Links) -> Links:
        """Return the external ids that are the user's: an operator released no other."""
        return {
            external_id: since
            for external_id, since in links.items()
            if self._in_effect.get((user_id, self.key.digest(external_id)), True)
        }


async def unreleased(session: AsyncSession, user_id: int, links: Links) -> Links:
    """Leave out the external ids that an operator released: they are not the user's."""
    key = await identity_key.load(session)
    records = Records.of(key, await session.execute(former_ids_of([user_id])))
    return records.unreleased(user_id, links)


async def close(
    session: AsyncSession, users: Collection[User], at: datetime
) -> Mapping[int, Links]:
    """Record what is not yet recorded of users who are erased: the ids are known no more after.

    Returns the external ids of each user, except for released ones.
    """
    ids = [user.id for user in users]
    histories: dict[int, list[tuple[int, Sequence[Change]]]] = {user_id: [] for user_id in ids}
    async for events in partitions(await session.execute(links_of(ids))):
        for event in events:
            histories[event.user_id].append((event.id, event.changes))
    links = {user.id: links_in(histories[user.id], user) for user in users}
    if not any(links.values()):
        return links
    key = await identity_key.load(session, hold=True)
    records = Records.of(key, await session.execute(former_ids_of(ids)))
    if missing := [
        _row(key, user_id, external_id, at)
        for user_id, theirs in links.items()
        for external_id in records.missing(user_id, theirs)
    ]:
        await session.execute(ADD_FORMER_IDS, missing)
    return {user_id: records.unreleased(user_id, theirs) for user_id, theirs in links.items()}


@dataclass(frozen=True, slots=True)
class Holder:
    """A user that has an external id; one that is deleted has it again if they are restored."""

    user_id: int
    status: UserStatus


@dataclass(frozen=True, slots=True)
class FormerId:
    """A record: that a user gave an external id up, and whether an operator released it since."""

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


class NothingToRelease(Exception):
    """An external id that no token is refused for. The text says why, and does not name the id."""


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
    """Let a subject be a service again; the records that are released are returned.

    Raises NothingToRelease.
    """
    having = await holders(session, external_id)
    if current := [holder for holder in having if holder.status is not UserStatus.DELETED]:
        raise NothingToRelease(
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
        raise NothingToRelease(_nothing(earlier))
    return sorted(released, key=lambda record: record.id)


def _nothing(earlier: Sequence[FormerId]) -> str:
    if not earlier:
        return "there is nothing to release: no user is known to have had this external id"
    last = earlier[-1]
    return (
        f"there is nothing to release: record {last.id} was released on "
        f"{last.released_at:%Y-%m-%d %H:%M}Z by {last.released_by}"
    )
