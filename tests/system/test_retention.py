"""eraseAfter and `roster erase-due`: deleted users are erased when their date has come."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from db.engine import Database
from db.models import IdempotencyKey
from tests.graph.api.test_erase_user import EVENTS, READ
from tests.support.client import CREATE, Client, count
from tests.support.process import run, start
from users.commands import Create, Retention, Transition
from users.lifecycle import UserAction
from users.retention import RETENTION, erase_due
from users.service import UserService

PAST, FUTURE = "2000-01-01T00:00:00Z", "2999-12-31T23:59:59.999999Z"


async def test_a_date_is_set_changed_and_cleared(client: Client) -> None:
    user = await client.create("ada")

    async def delete(**more: Any) -> tuple[bool, str | None, int]:
        payload = await client.do("deleteUser", user["id"], **more)
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
    assert (await client.do("restoreUser", user["id"]))["changed"] is True
    assert (await client.ask(READ, id=user["id"]))["eraseAfter"] is None
    assert await delete() == (True, None, 7)

    told = (await client.ask(EVENTS))["nodes"]
    dates = [
        (e["type"], e["reason"], c["before"], c["after"])
        for e in told
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
    assert [e["versionAfter"] for e in told] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("moment", ["2026-01-31", "soon", "2026-01-31T12:00:00", 5])
async def test_a_date_is_a_moment(client: Client, moment: Any) -> None:
    query = """mutation ($input: DeleteUserInput!) { deleteUser(input: $input) { changed } }"""
    answer = await client.send(query, input={"id": "VXNlcjox", "eraseAfter": moment})
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]


async def statuses(client: Client) -> dict[str, bool]:
    """Tell for each user whether they are erased, by their number."""
    query = """{ users(first: 100, filter: {status: [ACTIVE, DEACTIVATED, DELETED]}) { nodes {
      databaseId erasedAt } } }"""
    nodes = (await client.ask(query))["nodes"]
    return {node["databaseId"]: node["erasedAt"] is not None for node in nodes}


async def test_the_command_erases_who_is_due(client: Client, database_url: str) -> None:
    dates = (PAST, FUTURE, None, PAST)
    for number, date in enumerate(dates):
        user = await client.create(f"user{number}")
        await client.do("deleteUser", user["id"], eraseAfter=date)
    await client.do("restoreUser", "VXNlcjo0")  # who is due no more
    await client.create("user5")

    code, output = await run("erase-due", ROSTER_DATABASE_URL=database_url)
    assert (code, output.split(" in ")[0]) == (0, "Erased 1 users")
    assert await statuses(client) == {"1": True, "2": False, "3": False, "4": False, "5": False}
    [erased] = (await client.ask(EVENTS, filter={"type": ["ERASED"]}))["nodes"]
    assert erased["reason"] == "The date to erase this user has passed."
    actors = await client.events("VXNlcjox")
    assert actors[-1]["actor"] == {"kind": "system", "id": None, "label": "roster erase-due"}
    assert erased["changes"][-1] == {
        "field": "eraseAfter",
        "before": PAST,
        "after": None,
        "redacted": False,
    }
    again = await run("erase-due", ROSTER_DATABASE_URL=database_url)
    assert (again[0], again[1].split(" in ")[0]) == (0, "Erased 0 users")
    assert await count(client.database) == (5, 11)


async def delete_many(database: Database, people: int) -> None:
    async with database.session() as session, session.transaction():
        service = UserService(session, RETENTION)
        names = [f"user{n}" for n in range(people)]
        created = await service.execute(
            [Create(fields={"username": n, "email": f"{n}@example.com"}) for n in names]
        )
        due = Retention(datetime(2000, 1, 1, tzinfo=UTC))
        ids = [result.user.id for result in created.results if result.user]
        await service.execute(
            [Transition(action=UserAction.DELETE, user_id=i, retention=due) for i in ids]
        )


async def test_twice_at_once_they_share_the_work(client: Client, database_url: str) -> None:
    for _ in range(2):
        await delete_many(client.database, 250)
    runs = [await start("erase-due", ROSTER_DATABASE_URL=database_url) for _ in range(3)]
    outputs = [(await run.communicate())[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 3
    # On SQLite they can be in each other's way at the end, and say so in a line before the last.
    assert sum(int(output.splitlines()[-1].split()[1]) for output in outputs) == 500
    assert await count(client.database) == (500, 1500)


async def test_it_goes_on_where_it_was_ended(database: Database) -> None:
    await delete_many(database, 250)
    async for erased in erase_due(database):
        assert erased == 100
        break
    assert await count(database) == (250, 600)
    assert [erased async for erased in erase_due(database)] == [100, 50]
    assert await count(database) == (250, 750)


async def test_whoever_is_being_written_to_is_left_for_the_next_run(
    database: Database, dialect: str
) -> None:
    if dialect == "sqlite":
        return  # which has one writer at a time
    await delete_many(database, 2)
    async with database.session() as session, session.transaction():
        restore = Transition(action=UserAction.RESTORE, user_id=1)
        await UserService(session, RETENTION).execute([restore])
        assert [erased async for erased in erase_due(database)] == [1]
    assert [erased async for erased in erase_due(database)] == []


async def test_expired_idempotency_keys_are_dropped(client: Client, database: Database) -> None:
    async def keys() -> int:
        async with database.session() as session:
            statement = select(func.count()).select_from(IdempotencyKey)
            return (await session.execute(statement)).scalar_one()

    given = {"username": "ada", "email": "ada@example.com", "idempotencyKey": "k"}
    await client.ask(CREATE, input=given)
    tomorrow = datetime.now(UTC) + timedelta(hours=24)
    assert [n async for n in erase_due(database)] == []
    assert await keys() == 1
    assert [n async for n in erase_due(database, lambda: tomorrow)] == []
    assert await keys() == 0


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_users_who_have_acted_on_each_other_are_erased_side_by_side(
    database: Database, database_url: str
) -> None:
    await delete_many(database, 250)
    async with database.session() as session, session.transaction():
        await session.execute(
            text(
                "UPDATE user_events SET actor_kind = 'user', actor_label = 'X', "
                "actor_id = 1 + (user_id * 7919) % 250"
            )
        )
    runs = [await start("erase-due", ROSTER_DATABASE_URL=database_url) for _ in range(3)]
    outputs = [(await run.communicate())[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, outputs
    assert sum(int(output.split()[1]) for output in outputs) == 250
    async with database.session() as session:
        labels = text("SELECT count(*) FROM user_events WHERE actor_label = 'X'")
        assert (await session.execute(labels)).scalar_one() == 0
