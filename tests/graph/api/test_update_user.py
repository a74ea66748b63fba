import pytest

from tests.support.client import ERRORS, Client, count


async def test_update_changes_one_field_and_keeps_the_others(client: Client) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    payload = await client.mutate("updateUser", user["id"], email="countess@example.com")
    assert payload == {
        "user": user | {"email": "countess@example.com", "version": 2},
        "changed": True,
        "errors": [],
    }
    assert (await client.events(user["id"]))[1:] == [
        {
            "type": "UPDATED",
            "reason": None,
            "versionAfter": 2,
            "changes": [
                {"field": "email", "before": "ada@example.com", "after": "countess@example.com"}
            ],
            "actor": {"kind": "system", "id": None, "label": "development"},
        }
    ]


@pytest.mark.parametrize("field", ["displayName", "externalId"])
async def test_null_clears_a_nullable_field(client: Client, field: str) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    payload = await client.mutate("updateUser", user["id"], **{field: None})
    assert payload == {"user": user | {field: None, "version": 2}, "changed": True, "errors": []}
    assert (await client.events(user["id"]))[1]["changes"] == [
        {"field": field, "before": user[field], "after": None}
    ]


async def test_null_for_a_required_field_is_rejected(client: Client) -> None:
    user = await client.create("ada", displayName="Ada")
    payload = await client.mutate(
        "updateUser", user["id"], username=None, email=None, displayName=None
    )
    error = {
        "__typename": "FieldError",
        "code": "REQUIRED",
        "message": "This field is required.",
        "min": None,
        "max": None,
    }
    assert payload == {
        "user": None,
        "changed": False,
        "errors": [error | {"path": ["input", name]} for name in ("username", "email")],
    }
    assert await client.ask("{ users { nodes { displayName version } } }") == {
        "nodes": [{"displayName": "Ada", "version": 1}]
    }


async def test_literals_distinguish_absent_null_and_value(client: Client) -> None:
    user = await client.create("ada", displayName="Ada", externalId="hr-1")
    answer = await client.ask(
        f"""mutation ($id: ID!, $absent: String) {{
          updateUser(input: {{id: $id, username: "Lady", displayName: null, email: $absent}}) {{
            user {{ username email displayName externalId }} changed {ERRORS} }} }}""",
        id=user["id"],
    )
    assert answer == {
        "user": {
            "username": "Lady",
            "email": "ada@example.com",
            "displayName": None,
            "externalId": "hr-1",
        },
        "changed": True,
        "errors": [],
    }


async def test_update_to_equal_values_changes_nothing(client: Client) -> None:
    user = await client.create("ada", displayName="Ada")
    for fields in ({}, {"username": "ada", "displayName": " Ada ", "externalId": None}):
        payload = await client.mutate("updateUser", user["id"], **fields)
        assert payload == {"user": user, "changed": False, "errors": []}
    assert await count(client.database) == (1, 1)


async def test_username_can_change_its_case(client: Client) -> None:
    user = await client.create("ada")
    payload = await client.mutate("updateUser", user["id"], username="ADA")
    assert payload == {
        "user": user | {"username": "ADA", "version": 2},
        "changed": True,
        "errors": [],
    }


async def test_update_user_reports_all_violations_together(client: Client) -> None:
    await client.create("ada", externalId="hr-1")
    bob = await client.create("bob")
    payload = await client.mutate(
        "updateUser", bob["id"], username="Ada", email="no address", externalId="hr-1"
    )
    assert [(e["code"], e["path"][1]) for e in payload["errors"]] == [
        ("INVALID_FORMAT", "email"),
        ("TAKEN", "username"),
        ("TAKEN", "externalId"),
    ]
    both = await client.mutate("updateUser", bob["id"], username="ADA", email="ADA@example.com")
    assert [(e["code"], e["path"][1]) for e in both["errors"]] == [
        ("TAKEN", "username"),
        ("TAKEN", "email"),
    ]
    assert payload["user"] is both["user"] is None
    assert await client.ask(
        "query ($id: ID!) { user(id: $id) { username version } }", id=bob["id"]
    ) == {"username": "bob", "version": 1}
    assert await count(client.database) == (2, 2)


async def test_update_of_a_deleted_user_is_rejected(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"])
    answer = await client.ask(
        """mutation ($id: ID!) { updateUser(input: {id: $id, username: "x"}) {
          user { id } changed errors { __typename code path
            ... on TransitionError { from current { username status version } } } } }""",
        id=user["id"],
    )
    assert answer == {
        "user": None,
        "changed": False,
        "errors": [
            {
                "__typename": "TransitionError",
                "code": "INVALID_TRANSITION",
                "path": ["input", "id"],
                "from": "DELETED",
                "current": {"username": "ada", "status": "DELETED", "version": 2},
            },
            {"__typename": "FieldError", "code": "TOO_SHORT", "path": ["input", "username"]},
        ],
    }
    assert await count(client.database) == (1, 2)
