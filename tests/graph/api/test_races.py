"""Concurrent writes: the database decides conflicts, and no change is lost."""

import asyncio
from itertools import pairwise
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from tests.support.client import CREATE, Client, count


async def test_concurrent_creations_of_one_username_create_one_user(client: Client) -> None:
    for n in range(100):
        twins = (f"Émile{n}", f"E\u0301MILE{n}")
        payloads = await asyncio.gather(
            *(
                client.ask(CREATE, input={"username": name, "email": f"{i}.{n}@example.com"})
                for i, name in enumerate(twins)
            )
        )
        won = [p["user"]["username"] for p in payloads if p["user"]]
        lost = [(e["code"], e["path"]) for p in payloads for e in p["errors"]]
        assert len(won) == 1
        assert lost == [("TAKEN", ["input", "username"])]
    assert await count(client.database) == (100, 100)


async def test_concurrent_changes_to_one_username_succeed_once(client: Client) -> None:
    """By update, and by restoring a user while their username is taken."""
    ada, bob = await client.create("ada"), await client.create("bob")
    for n in range(20):
        payloads = await asyncio.gather(
            *(client.mutate("updateUser", u["id"], username=f"name{n}") for u in (ada, bob))
        )
        assert sorted(p["changed"] for p in payloads) == [False, True]
        assert [e["code"] for p in payloads for e in p["errors"]] == ["TAKEN"]

    await client.mutate("deleteUser", ada["id"])
    for n in range(20):
        await client.mutate("deleteUser", ada["id"])
        name = (await client.ask("query ($id: ID!) { user(id: $id) { username } }", id=ada["id"]))[
            "username"
        ]
        restored, created = await asyncio.gather(
            client.mutate("restoreUser", ada["id"]),
            client.ask(CREATE, input={"username": name.upper(), "email": f"{n}@example.com"}),
        )
        codes = [e["code"] for p in (restored, created) for e in p["errors"]]
        assert codes == ["TAKEN"]
        assert restored["changed"] is (created["user"] is None)
        if created["user"]:
            await client.mutate("deleteUser", created["user"]["id"])


async def test_concurrent_updates_of_different_fields_are_both_kept(client: Client) -> None:
    user = await client.create("ada")
    changes: list[dict[str, Any]] = [
        *({"displayName": f"Ada {n}"} for n in range(15)),
        *({"externalId": f"hr-{n}"} for n in range(15)),
    ]
    payloads = await asyncio.gather(
        *(client.mutate("updateUser", user["id"], **c) for c in changes)
    )
    assert all(p["changed"] and not p["errors"] for p in payloads)

    events = await client.events(user["id"])
    assert [e["versionAfter"] for e in events] == list(range(1, 32))
    for field in ("displayName", "externalId"):
        steps = [c for e in events[1:] for c in e["changes"] if c["field"] == field]
        assert len(steps) == 15
        assert all(a["after"] == b["before"] for a, b in pairwise(steps))
        now = await client.ask(f"query ($id: ID!) {{ user(id: $id) {{ {field} }} }}", id=user["id"])
        assert now == {field: steps[-1]["after"]}


async def test_concurrent_deactivations_change_the_user_once(client: Client) -> None:
    user = await client.create("ada")
    payloads = await asyncio.gather(
        *(client.mutate("deactivateUser", user["id"]) for _ in range(20))
    )
    assert sum(p["changed"] for p in payloads) == 1
    assert all(p["user"]["version"] == 2 for p in payloads)
    assert await count(client.database) == (1, 2)


async def test_deadlocked_write_is_retried_until_the_retry_limit(client: Client) -> None:
    class Deadlock(Exception):
        sqlstate = "40P01"

    engine = client.database.engine.sync_engine
    left = 2

    @event.listens_for(engine, "before_cursor_execute")
    def fail(_c: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        if left and "INSERT INTO user_events" in statement:
            left -= 1
            raise DBAPIError(statement, {}, Deadlock())

    assert (await client.create("ada"))["version"] == 1
    assert await count(client.database) == (1, 1)
    left = 100
    answer = await client.send(CREATE, input={"username": "bob", "email": "bob@example.com"})
    assert set(answer) == {"errors"}
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"  # not INTERNAL_ERROR
    assert error["extensions"]["outcome"] == "NOT_DONE"
    assert left == 80
    assert await count(client.database) == (1, 1)
