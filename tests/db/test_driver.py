"""Statements that the driver runs directly behave like those of a session."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db.engine import Database
from db.errors import is_unreachable
from db.models import ActorKind, UserEventType, UserStatus
from db.statements.users import ADD_USERS
from tests.conftest import opened
from tests.support.client import count

NOW = datetime(2026, 1, 31, tzinfo=UTC)


on_postgres = pytest.mark.parametrize("dialect", ["postgresql"])
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])


def row(name: str, **changed: Any) -> dict[str, Any]:
    texts = {"username": name, "email": f"{name}@example.com"}
    user = {
        **texts,
        **{f"{field}_key": value for field, value in texts.items()},
        **dict.fromkeys(("display_name", "display_name_key", "external_id", "external_id_key")),
        **dict.fromkeys(("status_reason", "deleted_at", "erase_after", "erased_at")),
        **dict.fromkeys(("status_changed_at", "created_at", "updated_at"), NOW),
        "is_active": True,
        "status": UserStatus.ACTIVE,
        "version": 1,
    }
    return user | changed


def event(name: str, **changed: Any) -> dict[str, Any]:
    of_event = {
        **dict.fromkeys(("actor_id", "actor_label", "reason", "request_id")),
        "type": UserEventType.CREATED,
        "actor_kind": ActorKind.SYSTEM,
        "at": NOW,
        "changes": [{"field": "username", "before": None, "after": name}],
        "version_after": 1,
    }
    return of_event | changed


async def add(database: Database, *, version_after: int | None = 1, **columns: Any) -> int | None:
    async with database.session() as session:
        return await session.insert_user(
            row("ada", **columns), event("ada", version_after=version_after)
        )


async def test_user_and_event_are_inserted_together_or_not_at_all(database: Database) -> None:
    assert await add(database) == 1
    assert await add(database, username_key="other") is None  # the email address is taken
    assert await count(database) == (1, 1)
    with pytest.raises(IntegrityError):
        await add(database, username_key="bob", email_key="bob", version_after=None)
    assert await count(database) == (1, 1)
    assert (
        await add(database, username_key="bob", email_key="bob")
        == {True: 2, False: 4}[database.is_sqlite]
    )


async def test_error_message_contains_no_personal_data(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        await add(database, version=0)
    assert "ada" not in str(caught.value)
    assert "ck_users_version" in str(caught.value)


_WAITING_LOCKS = text(
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE NOT granted AND datname = current_database()"
)
_TERMINATE_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@on_postgres
async def test_connection_lost_during_insert_is_reported_unreachable_and_replaced(
    database_url: str,
) -> None:
    async with (
        opened(database_url, pool_size=1, pool_pre_ping=False) as database,
        opened(database_url) as other,
        other.engine.connect() as holder,
    ):
        await holder.execute(text("LOCK TABLE user_events"))
        adding = asyncio.create_task(add(database))
        while not (await holder.execute(_WAITING_LOCKS)).scalar_one():
            pass
        await holder.execute(_TERMINATE_OTHERS)
        with pytest.raises(DBAPIError) as caught:
            await adding
        assert is_unreachable(caught.value)
        await holder.rollback()
        assert await add(database)
        assert await count(database) == (1, 1)


@on_postgres
@pytest.mark.parametrize("turns", [None, *range(6)])
async def test_cancelled_operation_releases_its_connection(
    database_url: str, turns: int | None
) -> None:
    """The insert waits for a unique index entry; it is cancelled once or twice.

    After two cancellations the server may not learn of them: both rows exist, or neither.
    """
    loop_errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
    async with (
        opened(database_url, pool_size=1) as database,
        opened(database_url) as other,
        asyncio.timeout(60),
    ):
        async with other.engine.connect() as rival, other.engine.connect() as observer:
            await rival.execute(ADD_USERS, [row("ada")])
            adding = asyncio.create_task(add(database))
            while not (await observer.execute(_WAITING_LOCKS)).scalar_one():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
            adding.cancel()
            if turns is not None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                adding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await adding
            await rival.rollback()
        assert turns is not None or await count(database) == (0, 0)
        await add(database)
        assert await count(database) == (1, 1)
        assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert loop_errors == []


@on_sqlite
@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_insert_leaves_the_sqlite_file_unlocked(
    database_url: str, turns: int
) -> None:
    """Cancelled before the thread starts, while it waits for the lock, and afterwards."""
    async with (
        asyncio.timeout(60),
        opened(database_url, pool_size=1) as database,
        opened(database_url) as other,
        other.session() as session,
    ):
        async with session.transaction():
            adding = asyncio.create_task(add(database))
            for _ in range(turns):
                await asyncio.sleep(0)
            adding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await adding
        assert await count(database) == (0, 0)
        assert await add(database) == 1
        assert await count(database) == (1, 1)


@on_sqlite
async def test_concurrent_inserts_of_two_processes_all_succeed(database_url: str) -> None:
    """Processes compete for the file lock; in each process only one writer waits for it."""
    async with opened(database_url) as one, opened(database_url) as other:

        async def fill(database: Database, name: str) -> None:
            for n in range(20):
                key = f"{name}{n}"
                assert await add(database, username_key=key, email_key=key)

        await asyncio.gather(*(fill(d, f"{d is one}{n}") for d in (one, other) for n in range(3)))
        assert await count(one) == (120, 120)
