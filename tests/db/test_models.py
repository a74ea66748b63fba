from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, StatementError

from db.engine import Database
from db.models import ActorKind, User, UserEvent, UserEventType, UserStatus

AT = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)


def user(**columns: Any) -> dict[str, Any]:
    return {
        "username": "Ada",
        "username_key": "ada",
        "email": "ada@example.com",
        "email_key": "ada@example.com",
        "is_active": True,
        "status": UserStatus.ACTIVE,
        "status_changed_at": AT,
        "version": 1,
        "created_at": AT,
        "updated_at": AT,
    } | columns


DELETED = {"is_active": False, "status": UserStatus.DELETED, "deleted_at": AT}
OTHER = {"username_key": "bob", "email_key": "bob@example.com"}


async def add(database: Database, *users: dict[str, Any]) -> None:
    async with database.engine.begin() as connection:
        for columns in users:
            await connection.execute(insert(User).values(columns))


@pytest.mark.parametrize(
    "columns",
    [
        {"is_active": False},
        {"status": UserStatus.DEACTIVATED},
        {"deleted_at": AT},
        DELETED | {"deleted_at": None},
        {"version": 0},
    ],
)
async def test_inconsistent_user_row_is_rejected(
    database: Database, columns: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError):
        await add(database, user(**columns))


@pytest.mark.parametrize("shared", ["username_key", "email_key", "external_id"])
async def test_key_is_unique_among_users_that_are_not_deleted(
    database: Database, shared: str
) -> None:
    other = {k: v for k, v in OTHER.items() if k != shared}
    same = {"external_id": "x"} if shared == "external_id" else {}
    await add(database, user(**same, **DELETED), user(**same), user(**OTHER, **DELETED))
    with pytest.raises(IntegrityError):
        await add(database, user(**other, **same))


async def test_timestamp_is_stored_exactly_and_returned_in_utc(database: Database) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    await add(database, user(created_at=elsewhere))
    async with database.engine.connect() as connection:
        row = (await connection.execute(select(User.created_at, User.deleted_at))).one()
        found = await connection.execute(select(User.id).where(User.created_at == elsewhere))
        assert found.all() == [(1,)]
    assert row == (AT, None)
    assert row[0].utcoffset() == timedelta(0)


async def test_timestamp_without_time_zone_is_rejected(database: Database) -> None:
    with pytest.raises(StatementError, match="a moment needs a time zone"):
        await add(database, user(created_at=AT.replace(tzinfo=None)))


async def test_event_with_duplicate_version_or_unknown_user_is_rejected(database: Database) -> None:
    await add(database, user())
    event = {
        "user_id": 1,
        "type": UserEventType.CREATED,
        "at": AT,
        "actor_kind": ActorKind.SYSTEM,
        "changes": [],
        "version_after": 1,
    }
    async with database.engine.begin() as connection:
        await connection.execute(insert(UserEvent).values(event))
    for wrong in (event, event | {"user_id": 2}):
        with pytest.raises(IntegrityError):
            async with database.engine.begin() as connection:
                await connection.execute(insert(UserEvent).values(wrong))
