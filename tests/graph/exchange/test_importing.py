"""Imports into a directory: creations, updates, statuses, rejections and dry runs."""

from collections.abc import Sequence
from typing import Any

import pytest

from db.engine import Database
from graph.exchange.exporting import PAGE, export_users
from graph.exchange.importing import Imported, import_users
from graph.exchange.reading import Rejection, Row
from graph.exchange.rows import ExportedUser, ImportedUser
from tests.support.client import Client, count


def rows(*given: dict[str, Any], first: int = 1) -> list[Row]:
    return [Row(n, ImportedUser.model_validate(user)) for n, user in enumerate(given, start=first)]


def user(number: int, **fields: Any) -> dict[str, Any]:
    name = f"user{number}"
    return {"externalId": f"X{number}", "username": name, "email": f"{name}@example.com", **fields}


async def imported(database: Database, given: Sequence[Row], **options: Any) -> list[Imported]:
    return [batch async for batch in import_users(database, given, **options)]


async def exported(database: Database) -> list[ExportedUser]:
    async with database.session() as session:
        return [user async for portion in export_users(session) for user in portion]


async def test_import_creates_updates_and_leaves_users_by_their_external_id(
    client: Client,
) -> None:
    database = client.database
    given = [user(1, displayName="One"), user(2, status="DEACTIVATED"), user(3)]
    assert await imported(database, rows(*given)) == [Imported(3, created=3)]
    changed = [user(1, displayName=None), user(2, status="ACTIVE"), {"externalId": "X3"}, user(4)]
    assert await imported(database, rows(*changed)) == [
        Imported(4, created=1, updated=2, unchanged=1)
    ]
    assert [
        (u.external_id, u.username, u.display_name, u.status, u.version)
        for u in await exported(database)
    ] == [
        ("X1", "user1", None, "ACTIVE", 2),
        ("X2", "user2", None, "ACTIVE", 3),
        ("X3", "user3", None, "ACTIVE", 1),
        ("X4", "user4", None, "ACTIVE", 1),
    ]
    assert await count(database) == (4, 7)
    query = "{ userEvents(first: 1) { nodes { type actor { kind label } } } }"
    [event] = (await client.ask(query))["nodes"]
    assert event["actor"]["label"] == "roster import"


async def test_reason_of_a_row_is_that_of_its_change_of_the_status(client: Client) -> None:
    given = [
        [user(1, status="DEACTIVATED", statusReason=" away "), user(2, statusReason="new")],
        [user(1, status="DEACTIVATED", statusReason="other"), user(2, statusReason="other")],
        [user(1, status="ACTIVE", statusReason="back"), user(2, status="DEACTIVATED")],
    ]
    found = []
    for each in given:
        [batch] = await imported(client.database, rows(*each))
        users = await exported(client.database)
        found.append((batch.created, batch.updated, [(u.status, u.status_reason) for u in users]))
    assert found == [
        (2, 0, [("DEACTIVATED", "away"), ("ACTIVE", None)]),
        (0, 0, [("DEACTIVATED", "away"), ("ACTIVE", None)]),
        (0, 2, [("ACTIVE", "back"), ("DEACTIVATED", None)]),
    ]
    events = await client.ask("{ userEvents(first: 9) { nodes { type reason } } }")
    assert [(event["type"], event["reason"]) for event in events["nodes"]] == [
        ("CREATED", None),
        ("CREATED", None),
        ("DEACTIVATED", "away"),
        ("REACTIVATED", "back"),
        ("DEACTIVATED", None),
    ]


async def test_row_that_violates_a_rule_is_rejected_and_the_others_are_imported(
    client: Client,
) -> None:
    await client.create("taken")
    given = rows(user(1), user(2, username="TAKEN"), {"externalId": "X9"}, user(3), first=5)
    [batch] = await imported(client.database, given)
    assert (batch.line, batch.created) == (8, 2)
    assert [(r.line, r.field) for r in batch.rejections] == [
        (6, "username"),
        (7, "username"),
        (7, "email"),
    ]
    assert {u.username for u in await exported(client.database)} == {"taken", "user1", "user3"}


async def test_batch_with_only_rejected_rows_changes_nothing(client: Client) -> None:
    await client.create("taken")
    before = await count(client.database)
    assert await imported(client.database, rows({"externalId": "X1"})) == [
        Imported(
            1,
            rejections=[
                Rejection(1, "username", "This field is required."),
                Rejection(1, "email", "This field is required."),
            ],
        )
    ]
    assert await count(client.database) == before


async def test_dry_run_reports_the_same_and_changes_nothing(client: Client) -> None:
    await client.create("user2")
    given = rows(user(1, status="DEACTIVATED"), user(2), user(3))
    before = await count(client.database)
    tried = await imported(client.database, given, dry_run=True)
    assert await count(client.database) == before
    assert await imported(client.database, given) == tried
    assert [(batch.created, len(batch.rejections)) for batch in tried] == [(2, 2)]


@pytest.mark.parametrize("number", [PAGE - 1, PAGE, PAGE + 1])
async def test_export_pages_contain_each_user_once_in_the_order_of_ids(
    client: Client, number: int
) -> None:
    await imported(client.database, rows(*map(user, range(number))))
    await client.mutate("deleteUser", (await client.create("gone"))["id"])
    found = await exported(client.database)
    assert [u.external_id for u in found] == [f"X{n}" for n in range(number)]


def named(number: int, name: str, email: str | None = None) -> dict[str, Any]:
    return user(number, username=name, email=email or f"{name}@example.com")


async def test_users_of_a_batch_exchange_their_unique_values(client: Client) -> None:
    database = client.database
    await imported(database, rows(*map(user, range(1, 7))))
    given = [
        named(1, "user2"),  # an exchange of two users
        named(2, "user1"),
        named(9, "user3"),  # a new user takes what is released below
        named(3, "user4", "new@example.com"),  # a chain
        named(4, "other4"),
        named(5, "user5", "user6@example.com"),  # addresses only, and a status
        named(6, "user6", "user5@example.com") | {"status": "DEACTIVATED"},
    ]
    expected = Imported(7, created=1, updated=6)
    assert await imported(database, rows(*given), dry_run=True) == [expected]
    assert await imported(database, rows(*given)) == [expected]
    assert await imported(database, rows(*given)) == [Imported(7, unchanged=7)]
    found = {u.external_id: (u.username, u.email, u.version) for u in await exported(database)}
    assert found == {
        "X1": ("user2", "user2@example.com", 2),
        "X2": ("user1", "user1@example.com", 2),
        "X9": ("user3", "user3@example.com", 1),
        "X3": ("user4", "new@example.com", 2),
        "X4": ("other4", "other4@example.com", 2),
        "X5": ("user5", "user6@example.com", 2),
        "X6": ("user6", "user5@example.com", 3),
    }
    assert await count(database) == (7, 6 + 8)


async def test_user_of_a_rejected_row_keeps_what_other_rows_wanted(client: Client) -> None:
    database, length = client.database, 300
    await client.create("taken")
    await imported(database, rows(*map(user, range(1, length + 1)), user(900), user(901)))
    before = await exported(database)
    chain = [named(n, f"user{n + 1}") for n in range(1, length)]
    given = [*chain, named(length, "taken"), named(900, "user901"), named(901, "user900")]
    [batch] = await imported(database, rows(*given))
    assert (batch.updated, {r.line for r in batch.rejections}) == (2, set(range(1, length + 1)))
    assert {r.message for r in batch.rejections} == {
        "Another user has this username.",
        "Another user has this e-mail address.",
    }
    assert [u for u in await exported(database) if u.version == 1] == before[:-2]
