"""eraseUser: removes personal data everywhere, and keeps the events without it."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text, update

from db.engine import Database
from db.models import ActorKind, UserEvent
from tests.support.client import CREATE, ERRORS, USER, Client, count

ERASE = f"""mutation ($input: EraseUserInput!) {{ eraseUser(input: $input) {{
  erasedUserId {ERRORS} }} }}"""
READ = f"query ($id: ID!) {{ user(id: $id) {{ {USER} eraseAfter erasedAt updatedAt }} }}"
EVENTS = """query ($filter: UserEventFilter) { userEvents(first: 100, filter: $filter) { nodes {
  type reason versionAfter changes { field before after redacted } } } }"""

PERSONAL = ("adalovelace", "byron", "ockham", "countess", "hr-1815", "illness")


async def create_deleted_ada(client: Client) -> str:
    """Returns the id of a deleted user with personal data in every table."""
    given = {
        "username": "AdaLovelace",
        "email": "ada.byron@ockham.example",
        "displayName": "Countess",
        "externalId": "hr-1815",
        "idempotencyKey": "ada",
    }
    user_id: str = (await client.ask(CREATE, input=given))["user"]["id"]
    await client.mutate("updateUser", user_id, username="Byron", displayName="Countess of Lovelace")
    await client.mutate("deactivateUser", user_id, reason="Illness in the family")
    await client.mutate("deleteUser", user_id, reason="Left after an illness")
    return user_id


async def erase(client: Client, user_id: str, **more: Any) -> dict[str, Any]:
    given = {"id": user_id, "confirmUsername": "byron", "reason": "On request"} | more
    payload: dict[str, Any] = await client.ask(ERASE, input=given)
    return payload


async def all_stored_text(database: Database) -> str:
    """The content of the tables, and of SQLite's files, in lower case."""
    found = ""
    async with database.engine.connect() as connection:
        for table in ("users", "user_events", "idempotency_keys"):
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).all()  # noqa: S608
            found += str(rows)
    if database.is_sqlite:
        path = Path(str(database.url.database))
        for file in path.parent.glob(f"{path.name}*"):
            found += file.read_bytes().decode("latin-1")
    return found.lower()


async def test_erasure_removes_personal_data_from_all_tables_and_files(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    await client.create("bob", displayName="Bob the untouched")
    before = await all_stored_text(client.database)
    assert all(word in before for word in PERSONAL)
    assert await erase(client, user_id) == {"erasedUserId": user_id, "errors": []}

    after = await all_stored_text(client.database)
    assert [word for word in PERSONAL if word in after] == []
    assert "bob the untouched" in after
    user = await client.ask(READ, id=user_id)
    assert user["deletedAt"] < user["erasedAt"] == user["updatedAt"]
    assert {k: v for k, v in user.items() if not k.endswith("At")} == {
        "id": user_id,
        "username": "erased-1",
        "email": "erased-1@erased.invalid",
        "displayName": None,
        "isActive": False,
        "status": "DELETED",
        "statusReason": None,
        "externalId": None,
        "version": 5,
        "eraseAfter": None,
    }


async def test_erasure_keeps_events_with_redacted_changes(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    await erase(client, user_id)

    def gone(field: str) -> dict[str, Any]:
        return {"field": field, "before": None, "after": None, "redacted": True}

    def status(before: str | None, after: str) -> dict[str, Any]:
        return {"field": "status", "before": before, "after": after, "redacted": False}

    expected = [
        (
            "CREATED",
            None,
            [
                *map(gone, ("username", "email", "displayName", "externalId")),
                status(None, "ACTIVE"),
            ],
        ),
        ("UPDATED", None, [*map(gone, ("username", "displayName"))]),
        ("DEACTIVATED", None, [status("ACTIVE", "DEACTIVATED"), gone("statusReason")]),
        ("DELETED", None, [status("DEACTIVATED", "DELETED"), gone("statusReason")]),
        (
            "ERASED",
            "On request",
            [
                *map(gone, ("username", "email", "displayName", "externalId", "statusReason")),
            ],
        ),
    ]
    events = (await client.ask(EVENTS, filter={"userId": [user_id]}))["nodes"]
    assert events == [
        {"type": t, "reason": r, "changes": c, "versionAfter": n}
        for n, (t, r, c) in enumerate(expected, start=1)
    ]


async def test_replay_after_erasure_returns_the_erased_user(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    await erase(client, user_id)
    given = {
        "username": "AdaLovelace",
        "email": "ada.byron@ockham.example",
        "displayName": "Countess",
        "externalId": "hr-1815",
        "idempotencyKey": "ada",
    }
    query = CREATE.replace("errors {", "replayed errors {", 1)
    payload = await client.ask(query, input=given)
    assert payload["replayed"] is True
    assert (payload["user"]["username"], payload["user"]["status"]) == ("erased-1", "DELETED")
    assert await count(client.database) == (1, 5)


async def test_erased_user_cannot_be_changed_or_erased_again(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    await erase(client, user_id)
    before = await client.ask(READ, id=user_id)
    for verb in ("updateUser", "deactivateUser", "reactivateUser", "restoreUser"):
        payload = await client.mutate(verb, user_id)
        assert [(e["code"], e["message"]) for e in payload["errors"]] == [
            ("INVALID_TRANSITION", "An erased user cannot be changed.")
        ]
    moment = {"eraseAfter": "2000-01-01T00:00:00Z"}
    deleted = await client.mutate("deleteUser", user_id, reason="again", **moment)
    assert (deleted["changed"], deleted["errors"]) == (False, [])
    again = await erase(client, user_id, confirmUsername="whatever it was", expectedVersion=5)
    assert again == {"erasedUserId": user_id, "errors": []}
    assert await client.ask(READ, id=user_id) == before
    assert await count(client.database) == (1, 5)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"confirmUsername": "adalovelace"}, [("INVALID_FORMAT", "confirmUsername")]),
        ({"confirmUsername": ""}, [("INVALID_FORMAT", "confirmUsername")]),
        ({"confirmUsername": "\x00\ud800"}, [("INVALID_FORMAT", "confirmUsername")]),
        (
            {"confirmUsername": "ada", "reason": " ", "expectedVersion": 3},
            [
                ("VERSION_CONFLICT", "expectedVersion"),
                ("TOO_SHORT", "reason"),
                ("INVALID_FORMAT", "confirmUsername"),
            ],
        ),
        ({"id": "VXNlcjo5OQ"}, [("NOT_FOUND", "id")]),
        ({"id": "nonsense"}, [("INVALID_FORMAT", "id")]),
    ],
)
async def test_invalid_erase_request_changes_nothing(
    client: Client, wrong: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    user_id = await create_deleted_ada(client)
    before = await all_stored_text(client.database)
    payload = await erase(client, user_id, **wrong)
    assert payload["erasedUserId"] is None
    assert [(e["code"], e["path"]) for e in payload["errors"]] == [
        (code, ["input", field]) for code, field in told
    ]
    if not client.database.is_sqlite:  # its log grows even for an empty commit
        assert await all_stored_text(client.database) == before
    assert await count(client.database) == (1, 4)


@pytest.mark.parametrize("verb", [None, "deactivateUser"])
async def test_erasing_a_user_that_is_not_deleted_is_rejected(
    client: Client, verb: str | None
) -> None:
    user = await client.create("byron")
    if verb:
        user = (await client.mutate(verb, user["id"]))["user"]
    payload = await erase(client, user["id"])
    assert payload == {
        "erasedUserId": None,
        "errors": [
            {
                "__typename": "TransitionError",
                "code": "INVALID_TRANSITION",
                "message": "Only a deleted user can be erased. Delete it first.",
                "path": ["input", "id"],
            }
        ],
    }
    now = await client.ask(READ, id=user["id"])
    assert (now["username"], now["version"]) == ("byron", user["version"])


async def test_confirm_username_ignores_case_and_normalization(client: Client) -> None:
    user = await client.create("Émile")
    await client.mutate("deleteUser", user["id"])
    payload = await erase(client, user["id"], confirmUsername="E\u0301MILE")
    assert payload["errors"] == []


async def test_erasure_removes_the_users_label_from_events_of_others(client: Client) -> None:
    """Labels of other actors stay."""
    user_id = await create_deleted_ada(client)
    bob = await client.create("bob")
    for version, actor in ((1, ("1", "Countess")), (2, ("2", "Bob")), (3, ("1", "Service"))):
        if version > 1:
            await client.mutate("updateUser", bob["id"], displayName=f"Bob {version}")
        kind = ActorKind.SERVICE if actor[1] == "Service" else ActorKind.USER
        async with client.database.session() as session, session.transaction():
            await session.execute(
                update(UserEvent)
                .where(UserEvent.user_id == 2, UserEvent.version_after == version)
                .values(actor_kind=kind, actor_id=actor[0], actor_label=actor[1])
            )
    await erase(client, user_id)
    assert [e["actor"] for e in await client.events(bob["id"])] == [
        {"kind": "user", "id": "1", "label": None},
        {"kind": "user", "id": "2", "label": "Bob"},
        {"kind": "service", "id": "1", "label": "Service"},
    ]


async def test_usernames_of_erased_users_are_reserved(client: Client) -> None:
    for name in ("erased-1", "ERASED-77", "ｅrased-１"):
        payload = await client.ask(CREATE, input={"username": name, "email": "a@example.com"})
        assert [(e["code"], e["path"]) for e in payload["errors"]] == [
            ("RESERVED", ["input", "username"])
        ]
    assert (await client.create("erased-one"))["username"] == "erased-one"
    assert await client.ask('{ userBy(by: {username: "erased-1"}) { id } }') is None


async def test_concurrent_erasures_erase_once(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    payloads = await asyncio.gather(
        *(erase(client, user_id) for _ in range(5)),
        client.mutate("restoreUser", user_id),
    )
    erased = [payload for payload in payloads[:5] if payload["erasedUserId"]]
    restored = payloads[5]["changed"]
    assert len(erased) == (0 if restored else 5)
    assert await count(client.database) == (1, 5)


def wait_an_hour_for_locks(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 3600000")
    cursor.close()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_erasure_does_not_wait_for_readers_and_a_repeat_empties_the_log(
    client: Client,
) -> None:
    """SQLite can empty its log only while no connection reads from it."""
    user_id = await create_deleted_ada(client)
    reader = sqlite3.connect(str(client.database.url.database), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM users")
    engine = client.database.engine.sync_engine
    event.listen(engine, "connect", wait_an_hour_for_locks)
    engine.pool.discard()  # type: ignore[attr-defined]
    async with asyncio.timeout(60):
        assert (await erase(client, user_id))["errors"] == []
        await client.create("bob")
    held = await all_stored_text(client.database)
    assert any(word in held for word in PERSONAL)
    reader.close()
    assert await erase(client, user_id) == {"erasedUserId": user_id, "errors": []}
    after = await all_stored_text(client.database)
    assert [word for word in PERSONAL if word in after] == []


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_replay_and_data_export_during_an_erasure_are_consistent(client: Client) -> None:
    """Each read sees the user and their events before or after the erasure, never a mixture."""
    for n in range(20):
        given = {"username": f"ada{n}", "email": f"{n}@example.com", "idempotencyKey": f"k{n}"}
        user_id = (await client.ask(CREATE, input=given))["user"]["id"]
        await client.mutate("deleteUser", user_id)
        replayed, document, _ = await asyncio.gather(
            client.ask(CREATE, input=given),
            client.ask("query ($id: ID!) { personalData(userId: $id) }", id=user_id),
            erase(client, user_id, confirmUsername=f"ada{n}"),
        )
        assert replayed["errors"] == []
        assert replayed["user"]["username"].rstrip("0123456789") in {"ada", "erased-"}
        types = [event["type"] for event in document["history"]]
        assert (document["user"]["erasedAt"] is None) is ("ERASED" not in types)
