from typing import Any

import pytest

from tests.support.client import CREATE, Client, count


async def test_create_user_stores_the_user_and_a_created_event(client: Client) -> None:
    payload = await client.ask(
        CREATE,
        input={
            "username": "Ada",
            "email": "Ada@Example.com",
            "displayName": "Ada Lovelace",
            "externalId": "hr-1",
        },
    )
    user = payload["user"]
    assert payload["errors"] == []
    assert user == {
        "id": "VXNlcjox",
        "username": "Ada",
        "email": "Ada@example.com",
        "displayName": "Ada Lovelace",
        "isActive": True,
        "status": "ACTIVE",
        "statusReason": None,
        "externalId": "hr-1",
        "version": 1,
        "deletedAt": None,
    }
    assert await client.events(user["id"]) == [
        {
            "type": "CREATED",
            "reason": None,
            "versionAfter": 1,
            "changes": [
                {"field": "username", "before": None, "after": "Ada"},
                {"field": "email", "before": None, "after": "Ada@example.com"},
                {"field": "displayName", "before": None, "after": "Ada Lovelace"},
                {"field": "externalId", "before": None, "after": "hr-1"},
                {"field": "status", "before": None, "after": "ACTIVE"},
            ],
            "actor": {"kind": "system", "id": None, "label": "development"},
        }
    ]


async def test_create_user_with_is_active_false_creates_a_deactivated_user(client: Client) -> None:
    user = await client.create("ada", isActive=False)
    assert (user["status"], user["isActive"]) == ("DEACTIVATED", False)
    events = await client.events(user["id"])
    assert [(e["type"], e["changes"][-1]) for e in events] == [
        ("CREATED", {"field": "status", "before": None, "after": "DEACTIVATED"})
    ]


async def test_create_user_reports_all_violations_together(client: Client) -> None:
    await client.create("ada", externalId="hr-1")
    payload = await client.ask(
        CREATE,
        input={
            "username": "a",
            "email": "ADA@example.com",
            "displayName": "x" * 201,
            "externalId": "hr-1",
        },
    )
    assert payload == {
        "user": None,
        "errors": [
            {
                "__typename": "FieldError",
                "code": "TOO_SHORT",
                "message": "Must have at least 3 characters.",
                "path": ["input", "username"],
                "min": 3,
                "max": 64,
            },
            {
                "__typename": "FieldError",
                "code": "TOO_LONG",
                "message": "Must have at most 200 characters.",
                "path": ["input", "displayName"],
                "min": 1,
                "max": 200,
            },
            taken("email", "Another user has this e-mail address."),
            taken("externalId", "Another user has this external id."),
        ],
    }
    assert await count(client.database) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [("Émile", "éMILE"), ("Émile", "E\u0301mile"), ("Ada", "ＡＤＡ"), ("weiss", "WEIẞ")],
)
async def test_username_and_email_are_taken_regardless_of_case_and_normalization(
    client: Client, first: str, second: str
) -> None:
    await client.create(first)
    payload = await client.ask(CREATE, input={"username": second, "email": f"{second}@Example.com"})
    assert payload == {
        "user": None,
        "errors": [
            taken("username", "Another user has this username."),
            taken("email", "Another user has this e-mail address."),
        ],
    }
    assert await count(client.database) == (1, 1)


async def test_keys_of_a_deleted_user_can_be_reused(client: Client) -> None:
    first = await client.create("ada", externalId="hr-1")
    await client.mutate("deleteUser", first["id"])
    second = await client.create("ada", externalId="hr-1")
    assert second["id"] != first["id"]
    assert await count(client.database) == (2, 3)


async def test_invalid_field_is_not_checked_for_uniqueness(client: Client) -> None:
    payload = await client.ask(CREATE, input={"username": "\x00", "email": "ada@example.com"})
    assert [(e["code"], e["path"]) for e in payload["errors"]] == [
        ("TOO_SHORT", ["input", "username"])
    ]
    assert await count(client.database) == (0, 0)


async def test_create_user_returns_an_edge_of_the_default_list(client: Client) -> None:
    await client.create("ada")
    payload = await client.ask("""mutation {
      createUser(input: {username: "bob", email: "bob@example.com"}) {
        userEdge { cursor node { username } } } }""")
    edge = payload["userEdge"]
    assert edge["node"] == {"username": "bob"}
    page = await client.ask(
        "query ($c: String) { users(after: $c) { nodes { username } } }", c=edge["cursor"]
    )
    assert page == {"nodes": [{"username": "ada"}]}


def taken(field: str, message: str) -> dict[str, Any]:
    return {
        "__typename": "FieldError",
        "code": "TAKEN",
        "message": message,
        "path": ["input", field],
        "min": None,
        "max": None,
    }
