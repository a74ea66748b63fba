"""eraseAfter and `roster erase-due`: deleted users are erased after their date."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.models import IdempotencyKey
from tests.graph.api.test_erase_user import EVENTS, READ
from tests.support.client import CREATE, Client, count
from users.commands import Create, Retention, Transition
from users.lifecycle import UserAction
from users.retention import RETENTION, erase_due
from users.service import UserService

PAST, FUTURE = "2000-01-01T00:00:00Z", "2999-12-31T23:59:59.999999Z"


async def test_erase_after_can_be_set_changed_and_cleared(client: Client) -> None:
    user = await client.create("ada")

    async def delete(**more: Any) -> tuple[bool, str | None, int]:
        payload = await client.mutate("deleteUser", user["id"], **more)
        assert payload["errors"] == []
        now = await client.ask(READ, id=user["id"])
        return payload["changed"], now["eraseAfter"], now["version"]

    assert await delete(eraseAfter="2999-12-31T23:59:59.999999+00:00") == (True, FUTURE, 2)
    assert await delete() == (False, FUTURE, 2)
    assert await delete(eraseAfter=FUTURE) == (False, FUTURE, 2)
    assert await delete(eraseAfter=PAST, reason="sooner") == (True, PAST, 3)
    assert await delete(eraseAfter=None) == (True, None, 4)
    assert await delete(eraseAfter=None) == (False, None, 4)
    assert await delete(eraseAfter=FUTURE) == (True, FUTURE, 5)
    assert (await client.mutate("restoreUser", user["id"]))["changed"] is True
    assert (await client.ask(READ, id=user["id"]))["eraseAfter"] is None
    assert await delete() == (True, None, 7)

    events = (await client.ask(EVENTS))["nodes"]
    dates = [
        (e["type"], e["reason"], c["before"], c["after"])
        for e in events
        for c in e["changes"]
        if c["field"] == "eraseAfter"
    ]
    assert dates == [
        ("DELETED", None, None, FUTURE),
        ("UPDATED", "sooner", FUTURE, PAST),
        ("UPDATED", None, PAST, None),
        ("UPDATED", None, None, FUTURE),
        ("RESTORED", None, FUTURE, None),
    ]
    assert [e["versionAfter"] for e in events] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("moment", ["2026-01-31", "soon", "2026-01-31T12:00:00", 5])
async def test_erase_after_that_is_no_timestamp_is_rejected(client: Client, moment: Any) -> None:
    query = """mutation ($input: DeleteUserInput!) { deleteUser(input: $input) { changed } }"""
    answer = await client.send(query, input={"id": "VXNlcjox", "eraseAfter": moment})
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]


async def delete_many(database: Database, user_count: int) -> None:
    async with database.session() as session, session.transaction():
        service = UserService(session, RETENTION)
        names = [f"user{n}" for n in range(user_count)]
        created = await service.execute(
            [Create(fields={"username": n, "email": f"{n}@example.com"}) for n in names]
        )
        due = Retention(datetime(2000, 1, 1, tzinfo=UTC))
        ids = [result.user.id for result in created.results if result.user]
        await service.execute(
            [Transition(action=UserAction.DELETE, user_id=i, retention=due) for i in ids]
        )


async def test_erase_due_continues_after_an_interruption(database: Database) -> None:
    await delete_many(database, 250)
    async for erased in erase_due(database):
        assert erased == 100
        break
    assert await count(database) == (250, 600)
    assert [erased async for erased in erase_due(database)] == [100, 50]
    assert await count(database) == (250, 750)


async def test_locked_user_is_left_for_the_next_run(database: Database, dialect: str) -> None:
    if dialect == "sqlite":
        return  # SQLite has one writer at a time
    await delete_many(database, 2)
    async with database.session() as session, session.transaction():
        restore = Transition(action=UserAction.RESTORE, user_id=1)
        await UserService(session, RETENTION).execute([restore])
        assert [erased async for erased in erase_due(database)] == [1]
    assert [erased async for erased in erase_due(database)] == []


async def test_erase_due_deletes_expired_idempotency_keys(
    client: Client, database: Database
) -> None:
    async def keys() -> int:
        async with database.session() as session:
            statement = select(func.count()).select_from(IdempotencyKey)
            return (await session.execute(statement)).scalar_one()

    values = {"username": "ada", "email": "ada@example.com", "idempotencyKey": "k"}
    await client.ask(CREATE, input=values)
    tomorrow = datetime.now(UTC) + timedelta(hours=24)
    assert [n async for n in erase_due(database)] == []
    assert await keys() == 1
    assert [n async for n in erase_due(database, lambda: tomorrow)] == []
    assert await keys() == 0
