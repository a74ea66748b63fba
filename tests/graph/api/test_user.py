"""user, userBy, node and nodes: a user by any key, and any object by id."""

from typing import Any

import pytest

from graph.api import global_ids
from tests.support.client import USER, Client

UNKNOWN = global_ids.encode("User", 2**63 - 1)
BY = f"query ($by: UserBy!) {{ userBy(by: $by) {{ {USER} }} }}"


async def test_user_is_found_by_every_key(client: Client) -> None:
    user = await client.create("Émile", email="Émile@example.com", externalId="HR-1")
    await client.create("bob")
    assert (
        await client.ask(f"query ($id: ID!) {{ user(id: $id) {{ {USER} }} }}", id=user["id"])
        == user
    )
    for by in (
        {"id": user["id"]},
        {"databaseId": "1"},
        {"databaseId": 1},
        {"username": "E\u0301MILE"},
        {"email": "émile@EXAMPLE.com"},
        {"externalId": "HR-1"},
    ):
        assert await client.ask(BY, by=by) == user, by


@pytest.mark.parametrize(
    "by",
    [
        {"id": UNKNOWN},
        {"databaseId": "9223372036854775807"},
        {"databaseId": "0"},
        {"username": "nobody"},
        {"username": ""},
        {"username": "a\x00b"},
        {"username": "a\ud800b"},
        {"username": "%"},
        {"username": "x" * 10_000},
        {"email": "nobody@example.com"},
        {"email": "no address"},
        {"email": "\ud800@example.com"},
        {"externalId": "hr-1"},
        {"externalId": ""},
        {"externalId": "\x00"},
        {"externalId": "\udfff"},
    ],
)
async def test_user_by_an_unknown_or_invalid_key_is_null(
    client: Client, by: dict[str, Any]
) -> None:
    await client.create("ada", externalId="HR-1")
    assert await client.ask(BY, by=by) is None


async def test_deleted_user_is_found_only_by_id(client: Client) -> None:
    user = await client.create("ada", externalId="hr-1")
    deleted = (await client.mutate("deleteUser", user["id"]))["user"]
    assert await client.ask(BY, by={"id": user["id"]}) == deleted
    for by in ({"username": "ada"}, {"email": "ada@example.com"}, {"externalId": "hr-1"}):
        assert await client.ask(BY, by=by) is None


@pytest.mark.parametrize(
    "by", [{}, {"username": "a", "email": "b"}, {"username": None}, None, {"id": {}}, "x"]
)
async def test_user_by_requires_exactly_one_key(client: Client, by: Any) -> None:
    answer = await client.send(BY, by=by)
    assert answer.get("data") is None
    assert [e["extensions"]["code"] for e in answer["errors"]] == ["GRAPHQL_VALIDATION_FAILED"]


async def test_nodes_returns_users_and_events_by_id(client: Client) -> None:
    user = await client.create("ada")
    found = await client.ask("{ users { nodes { history { nodes { id } } } } }")
    event_id = found["nodes"][0]["history"]["nodes"][0]["id"]
    query = """query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id
      ... on User { username } ... on UserEvent { type userId user { username } } } }"""
    ada = {"__typename": "User", "id": user["id"], "username": "ada"}
    created = {
        "__typename": "UserEvent",
        "id": event_id,
        "type": "CREATED",
        "userId": user["id"],
        "user": {"username": "ada"},
    }
    ids = [event_id, UNKNOWN, user["id"], global_ids.encode("UserEvent", 99), event_id]
    assert await client.ask(query, ids=ids) == [created, None, ada, None, created]
    assert await client.ask("query ($id: ID!) { node(id: $id) { id } }", id=event_id) == {
        "id": event_id
    }
    assert await client.ask(query, ids=[]) == []


async def test_invalid_id_in_nodes_is_null_and_keeps_the_others(client: Client) -> None:
    user = await client.create("ada")
    answer = await client.send(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["nonsense", user["id"], "Rm9vOjE"]
    )
    assert answer["data"] == {"nodes": [None, {"id": user["id"]}, None]}
    assert [(e["path"], e["message"], e["extensions"]) for e in answer["errors"]] == [
        (["nodes", n], "This is not an id of this directory.", {"code": "INVALID_ID"})
        for n in (0, 2)
    ]


async def test_nodes_accepts_at_most_100_ids(client: Client) -> None:
    answer = await client.send(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[UNKNOWN] * 101
    )
    assert answer["data"] is None
    assert [(e["message"], e["extensions"]) for e in answer["errors"]] == [
        ("`ids` has 101 values; a list can have 100.", {"code": "INVALID_ARGUMENT"})
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "This is not an id of this directory."),
        ("1", "This is not an id of this directory."),
        ("VXNlcjox=", "This is not an id of this directory."),
        ("VXNlcjox\n", "This is not an id of this directory."),
        (global_ids.encode("User", 0), "This is not an id of this directory."),
        (global_ids.encode("User", -1), "This is not an id of this directory."),
        (global_ids.encode("User", 2**63), "This is not an id of this directory."),
        (global_ids.encode("User", 10**400), "This is not an id of this directory."),
        ("VXNlcjowMQ", "This is not an id of this directory."),  # User:01
        ("JXM6MQ", "This is not an id of this directory."),  # %s:1
        ("é", "This is not an id of this directory."),
        ("\ud800", "This is not an id of this directory."),
        (global_ids.encode("UserEvent", 1), "This is the id of a UserEvent, not of a User."),
        (global_ids.encode("Team", 1), "This is the id of a Team, not of a User."),
    ],
)
async def test_invalid_id_is_rejected_by_every_query(
    client: Client, wrong: str, message: str
) -> None:
    for query, path in (
        ("query ($id: ID!) { user(id: $id) { id } }", "user"),
        ("query ($id: ID!) { userBy(by: {id: $id}) { id } }", "userBy"),
        ("query ($id: ID!) { users(filter: {id: [$id]}) { nodes { id } } }", "users"),
    ):
        answer = await client.send(query, id=wrong)
        assert answer["data"] == {path: None}
        assert [(e["path"], e["message"], e["extensions"]) for e in answer["errors"]] == [
            ([path], message, {"code": "INVALID_ID"})
        ]


@pytest.mark.parametrize(
    "verb", ["updateUser", "deactivateUser", "reactivateUser", "deleteUser", "restoreUser"]
)
async def test_mutation_of_an_invalid_or_unknown_id_is_rejected(client: Client, verb: str) -> None:
    for wrong in ("nonsense", global_ids.encode("UserEvent", 1), "\ud800"):
        assert await client.mutate(verb, wrong) == {
            "user": None,
            "changed": False,
            "errors": [
                {
                    "__typename": "FieldError",
                    "code": "INVALID_FORMAT",
                    "message": "This is not the id of a user.",
                    "path": ["input", "id"],
                    "min": None,
                    "max": None,
                }
            ],
        }
    query = f"""mutation ($id: ID!) {{ {verb}(input: {{id: $id}}) {{ user {{ id }} errors {{
      __typename code message path ... on NotFoundError {{ userId id }} }} }} }}"""
    assert await client.ask(query, id=UNKNOWN) == {
        "user": None,
        "errors": [
            {
                "__typename": "NotFoundError",
                "code": "NOT_FOUND",
                "message": "There is no such user.",
                "path": ["input", "id"],
                "userId": UNKNOWN,
                "id": UNKNOWN,
            }
        ],
    }
