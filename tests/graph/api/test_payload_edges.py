"""`userEdge` of payloads: the edge that lists in the default order have for the user."""

from typing import Any

import pytest

from tests.support.callers import DirectoryClient, service
from tests.support.client import Client
from users.policy import Scope

EDGE = "userEdge { cursor node { username status version } }"
LIST = """{ users(filter: { status: [ACTIVE, DEACTIVATED, DELETED] }) {
  edges { cursor node { username status version } } } }"""
MUTATE = """mutation ($input: %s!) { %s(input: $input) { %s errors { code } } }"""
BULK = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) {
  results { %s errors { code } } } }"""


def mutation(verb: str, input_type: str) -> str:
    return MUTATE % (input_type, verb, EDGE)


async def edges(client: Client) -> dict[str, Any]:
    """Return the edges of the default order by username."""
    listed = await client.ask(LIST)
    return {edge["node"]["username"]: edge for edge in listed["edges"]}


@pytest.mark.parametrize(
    ("verbs", "input_type"),
    [
        (["updateUser"], "UpdateUserInput"),
        (["deactivateUser", "reactivateUser"], "UserTransitionInput"),
        (["deleteUser"], "DeleteUserInput"),
    ],
)
async def test_write_returns_the_edge_of_the_changed_user(
    client: Client, verbs: list[str], input_type: str
) -> None:
    for name in ("ada", "mia", "zoe"):
        user = await client.create(name)
    changes = {"displayName": "Zoe"} if verbs == ["updateUser"] else {}
    for version, verb in enumerate(verbs, 2):
        query = mutation(verb, input_type)
        payload = await client.ask(query, input={"id": user["id"]} | changes)
        assert payload["errors"] == []
        assert payload["userEdge"] == (await edges(client))["zoe"]
        assert payload["userEdge"]["node"]["version"] == version


async def test_upsert_returns_the_edge_of_the_created_and_the_updated_user(client: Client) -> None:
    await client.create("ada")
    query = mutation("upsertUser", "UpsertUserInput")
    for display_name in ("Mia", "Mia Wallace"):
        values = {"email": "mia@example.com", "displayName": display_name}
        payload = await client.ask(query, input={"by": {"username": "mia"}} | values)
        assert payload == {"userEdge": (await edges(client))["mia"], "errors": []}


async def test_bulk_returns_the_edge_of_each_changed_user(client: Client) -> None:
    ada = await client.create("ada")
    mia = {"username": "mia", "email": "mia@example.com"}
    operations = [{"create": mia}, {"delete": {"id": ada["id"]}}]
    payload = await client.ask(BULK % EDGE, input={"operations": operations})
    listed = await edges(client)
    assert [result["userEdge"] for result in payload["results"]] == [listed["mia"], listed["ada"]]


async def test_edge_is_null_if_the_write_is_rejected_or_only_validated(client: Client) -> None:
    ada = await client.create("ada")
    query = mutation("updateUser", "UpdateUserInput")
    for changes, codes in (
        ({"username": "x"}, ["TOO_SHORT"]),
        ({"displayName": "Ada", "validateOnly": True}, []),
    ):
        payload = await client.ask(query, input={"id": ada["id"]} | changes)
        found = [error["code"] for error in payload["errors"]]
        assert (payload["userEdge"], found) == (None, codes)


async def test_edge_is_null_if_the_caller_may_not_read_the_user(directory: DirectoryClient) -> None:
    query = mutation("deactivateUser", "UserTransitionInput")
    answer = await directory.send(service(Scope.WRITE), query, input={"id": "VXNlcjox"})
    assert answer == {"data": {"deactivateUser": {"userEdge": None, "errors": []}}}
