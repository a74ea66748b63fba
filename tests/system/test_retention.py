"""eraseAfter and `roster erase-due`: deleted users are erased after their date."""

import pytest
from sqlalchemy import text

from db.engine import Database
from tests.graph.api.test_erase_user import EVENTS
from tests.support.client import Client, count
from tests.support.process import run, start
from tests.users.test_retention import FUTURE, PAST, delete_many


async def is_erased_by_id(client: Client) -> dict[str, bool]:
    """Returns whether each user is erased, by database id."""
    query = """{ users(first: 100, filter: {status: [ACTIVE, DEACTIVATED, DELETED]}) { nodes {
      databaseId erasedAt } } }"""
    nodes = (await client.ask(query))["nodes"]
    return {node["databaseId"]: node["erasedAt"] is not None for node in nodes}


async def test_erase_due_erases_only_users_whose_date_has_passed(
    client: Client, database_url: str
) -> None:
    dates = (PAST, FUTURE, None, PAST)
    for number, date in enumerate(dates):
        user = await client.create(f"user{number}")
        await client.mutate("deleteUser", user["id"], eraseAfter=date)
    await client.mutate("restoreUser", "VXNlcjo0")  # no longer due
    await client.create("user5")

    code, output = await run("erase-due", ROSTER_DATABASE_URL=database_url)
    assert (code, output.split(" in ")[0]) == (0, "Erased 1 users")
    assert await is_erased_by_id(client) == {
        "1": True,
        "2": False,
        "3": False,
        "4": False,
        "5": False,
    }
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


async def test_concurrent_runs_share_the_work(client: Client, database_url: str) -> None:
    for _ in range(2):
        await delete_many(client.database, 250)
    runs = [await start("erase-due", ROSTER_DATABASE_URL=database_url) for _ in range(3)]
    outputs = [(await run.communicate())[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 3
    # On SQLite runs can block each other at the end; they report it in a line before the last.
    assert sum(int(output.splitlines()[-1].split()[1]) for output in outputs) == 500
    assert await count(client.database) == (500, 1500)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_concurrent_runs_erase_users_who_acted_on_each_other(
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
