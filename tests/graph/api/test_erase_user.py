"""eraseUser: what is personal is gone from everywhere, and that it happened stays."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from db.engine import Database
from db.models import ActorKind, UserEvent
from tests.support.client import CREATE, ERRORS, USER, Client, count

ERASE = f"""mutation ($input: EraseUserInput!) {{ eraseUser(input: $input) {{
  erasedUserId {ERRORS} }} }}"""
READ = f"query ($id: ID!) {{ user(id: $id) {{ {USER} eraseAfter erasedAt updatedAt }} }}"
EVENTS = """query ($filter: UserEventFilter) { userEvents(first: 100, filter: $filter) { nodes {
  type reason versionAfter changes { field before after redacted } } } }"""

PERSONAL = ("adalovelace", "byron", "ockham", "countess", "hr-1815", "illness")


async def ada(client: Client) -> str:
    """Give the id of a deleted user, whose life has left traces everywhere."""
    given = {
        "username": "AdaLovelace",
        "email": "ada.byron@ockham.example",
        "displayName": "Countess",
        "externalId": "hr-1815",
        "idempotencyKey": "ada",
    }
    user_id: str = (await client.ask(CREATE, input=given))["user"]["id"]
    await client.do("updateUser", user_id, username="Byron", displayName="Countess of Lovelace")
    await client.do("deactivateUser", user_id, reason="Illness in the family")
    await client.do("deleteUser", user_id, reason="Left after an illness")
    return user_id


async def erase(client: Client, user_id: str, **more: Any) -> dict[str, Any]:
    given = {"id": user_id, "confirmUsername": "byron", "reason": "On request"} | more
    payload: dict[str, Any] = await client.ask(ERASE, input=given)
    return payload


async def everything(database: Database) -> str:
    """Give all that stands in the database, and on SQLite in its files, as one small text."""
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


async def test_what_is_personal_is_gone_from_everywhere(client: Client) -> None:
    user_id = await ada(client)
    await client.create("bob", displayName="Bob the untouched")
    before = await everything(client.database)
    assert all(word in before for word in PERSONAL)
    assert await erase(client, user_id) == {"erasedUserId": user_id, "errors": []}

    after = await everything(client.database)
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


async def test_that_it_happened_stays(client: Client) -> None:
    user_id = await ada(client)
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
    told = (await client.ask(EVENTS, filter={"userId": [user_id]}))["nodes"]
    assert told == [
        {"type": t, "reason": r, "changes": c, "versionAfter": n}
        for n, (t, r, c) in enumerate(expected, start=1)
    ]


async def test_a_kept_answer_tells_nothing_of_an_erased_user(client: Client) -> None:
    user_id = await ada(client)
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


async def test_an_erased_user_is_gone_for_good(client: Client) -> None:
    user_id = await ada(client)
    await erase(client, user_id)
    before = await client.ask(READ, id=user_id)
    for verb in ("updateUser", "deactivateUser", "reactivateUser", "restoreUser"):
        payload = await client.do(verb, user_id)
        assert [(e["code"], e["message"]) for e in payload["errors"]] == [
            ("INVALID_TRANSITION", "An erased user cannot be changed.")
        ]
    moment = {"eraseAfter": "2000-01-01T00:00:00Z"}
    deleted = await client.do("deleteUser", user_id, reason="again", **moment)
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
async def test_a_wrong_request_erases_nothing(
    client: Client, wrong: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    user_id = await ada(client)
    before = await everything(client.database)
    payload = await erase(client, user_id, **wrong)
    assert payload["erasedUserId"] is None
    assert [(e["code"], e["path"]) for e in payload["errors"]] == [
        (code, ["input", field]) for code, field in told
    ]
    if not client.database.is_sqlite:  # whose log can grow a commit of nothing
        assert await everything(client.database) == before
    assert await count(client.database) == (1, 4)


@pytest.mark.parametrize("verb", [None, "deactivateUser"])
async def test_only_a_deleted_user_can_be_erased(client: Client, verb: str | None) -> None:
    user = await client.create("byron")
    if verb:
        user = (await client.do(verb, user["id"]))["user"]
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


async def test_a_twin_of_the_username_confirms(client: Client) -> None:
    user = await client.create("Émile")
    await client.do("deleteUser", user["id"])
    payload = await erase(client, user["id"], confirmUsername="E\u0301MILE")
    assert payload["errors"] == []


async def test_what_an_erased_user_did_names_them_no_more(client: Client) -> None:
    """Their name goes from what they did to others; what others did keeps theirs."""
    user_id = await ada(client)
    bob = await client.create("bob")
    for version, actor in ((1, ("1", "Countess")), (2, ("2", "Bob")), (3, ("1", "Service"))):
        if version > 1:
            await client.do("updateUser", bob["id"], displayName=f"Bob {version}")
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


async def test_nobody_can_be_named_like_an_erased_user(client: Client) -> None:
    for name in ("erased-1", "ERASED-77", "ｅrased-１"):
        payload = await client.ask(CREATE, input={"username": name, "email": "a@example.com"})
        assert [(e["code"], e["path"]) for e in payload["errors"]] == [
            ("RESERVED", ["input", "username"])
        ]
    assert (await client.create("erased-one"))["username"] == "erased-one"
    assert await client.ask('{ userBy(by: {username: "erased-1"}) { id } }') is None


async def test_at_once_it_happens_once(client: Client) -> None:
    user_id = await ada(client)
    told = await asyncio.gather(
        *(erase(client, user_id) for _ in range(5)),
        client.do("restoreUser", user_id),
    )
    erased = [t for t in told[:5] if t["erasedUserId"]]
    restored = told[5]["changed"]
    assert len(erased) == (0 if restored else 5)
    assert await count(client.database) == (1, 5)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_a_reader_keeps_nobody_waiting_and_a_repetition_cleans_up(client: Client) -> None:
    """SQLite's log can be emptied only while nobody reads what stands in it."""
    user_id = await ada(client)
    reader = sqlite3.connect(str(client.database.url.database), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM users")
    async with asyncio.timeout(15):  # half of what SQLite waits for a lock
        assert (await erase(client, user_id))["errors"] == []
        await client.create("bob")
    held = await everything(client.database)
    assert any(word in held for word in PERSONAL)
    reader.close()
    assert await erase(client, user_id) == {"erasedUserId": user_id, "errors": []}
    after = await everything(client.database)
    assert [word for word in PERSONAL if word in after] == []


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_replay_and_a_document_while_a_user_is_erased(client: Client) -> None:
    """Whichever of the reads comes first, they fit together."""
    for n in range(20):
        given = {"username": f"ada{n}", "email": f"{n}@example.com", "idempotencyKey": f"k{n}"}
        user_id = (await client.ask(CREATE, input=given))["user"]["id"]
        await client.do("deleteUser", user_id)
        replayed, document, _ = await asyncio.gather(
            client.ask(CREATE, input=given),
            client.ask("query ($id: ID!) { personalData(userId: $id) }", id=user_id),
            erase(client, user_id, confirmUsername=f"ada{n}"),
        )
        assert replayed["errors"] == []
        assert replayed["user"]["username"].rstrip("0123456789") in {"ada", "erased-"}
        types = [event["type"] for event in document["history"]]
        assert (document["user"]["erasedAt"] is None) is ("ERASED" not in types)
