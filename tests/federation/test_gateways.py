"""Queries across Roster and other subgraphs, through Apollo's and The Guild's gateway."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from tests.federation.conftest import ADMIN, NO_SCOPES, READER, Graph

pytestmark = pytest.mark.asyncio(loop_scope="module")  # they share the servers
GATEWAYS = ("apollo", "hive")
DEVICES = "{ devices { nodes { name owner { username databaseId } } pageInfo { hasNextPage } } }"
NAMES = ["Laptop", "Phone", "Tablet", "Lost", "Broken", "New"]
ADA = {"username": "ada", "databaseId": "1"}
BOB = {"username": "bob", "databaseId": "2"}
ADA_WITH_DEVICES = {"username": "ada", "devices": [{"name": "Laptop"}, {"name": "Tablet"}]}
CREATED = {"type": "CREATED"}


def devices(*owners: Any) -> dict[str, Any]:
    """Returns the data of the query `DEVICES`."""
    nodes = [{"name": n, "owner": o} for n, o in zip(NAMES, owners, strict=True)]
    return {"devices": {"nodes": nodes, "pageInfo": {"hasNextPage": False}}}


def codes(answer: Any) -> list[tuple[str, Any]]:
    """Returns the code and the path of each error, sorted by path.

    Hive's gateway reports the path of the field below, and a null in a non-null field.
    """
    found = [(e.get("extensions", {}).get("code"), e.get("path")) for e in answer.get("errors", ())]
    cut = {(code, json.dumps(path and path[:4])) for code, path in found}
    return sorted(((code, json.loads(path)) for code, path in cut if code), key=repr)


async def send_as_admin(graph: Graph, gateway: str, query: str) -> Any:
    """Returns the answer; the other subgraphs must receive the caller's credentials only."""
    await graph.tokens_of_others()  # without those of earlier requests
    answer = await graph.send(gateway, query)
    assert set(await graph.tokens_of_others()) == {f"Bearer {ADMIN}"}
    return answer


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_users_of_roster_are_joined_with_other_subgraphs(graph: Graph, gateway: str) -> None:
    query = """{ users(first: 2, orderBy: [{ field: CREATED_AT }]) {
      nodes { username devices { name reason { type } } badge { color }
        employee { department } } } }"""
    ada = {
        "username": "ada",
        "devices": [{"name": "Laptop", "reason": CREATED}, {"name": "Tablet", "reason": None}],
        "badge": {"color": "red"},
        "employee": {"department": "IT"},
    }
    bob = {
        "username": "bob",
        "devices": [{"name": "Phone", "reason": CREATED}],
        "badge": {"color": "blue"},
        "employee": None,  # Bob has no external id
    }
    assert await send_as_admin(graph, gateway, query) == {"data": {"users": {"nodes": [ada, bob]}}}


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_objects_of_other_subgraphs_are_joined_with_users(graph: Graph, gateway: str) -> None:
    query = """{ badges { color holder { username devices { name } } }
      employees { department account { id badge { color } } } }"""
    bob = {"username": "bob", "devices": [{"name": "Phone"}]}
    account = {"id": "VXNlcjox", "badge": {"color": "red"}}
    assert (await send_as_admin(graph, gateway, query))["data"] == {
        "badges": [
            {"color": "red", "holder": ADA_WITH_DEVICES},
            {"color": "blue", "holder": bob},
        ],
        "employees": [
            {"department": "IT", "account": account},
            {"department": "Sales", "account": None},
        ],
    }


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_node_fields_find_the_nodes_of_each_subgraph(graph: Graph, gateway: str) -> None:
    query = """{ node(id: "VXNlcjox") { __typename id ... on User { username devices { name } } }
      nodes(ids: ["device-1", "VXNlckV2ZW50OjE", "VXNlcjoy"]) { __typename
        ... on Device { name } ... on UserEvent { type user { username } }
        ... on User { email } } }"""
    assert await send_as_admin(graph, gateway, query) == {
        "data": {
            "node": {"__typename": "User", "id": "VXNlcjox", **ADA_WITH_DEVICES},
            "nodes": [
                {"__typename": "Device", "name": "Laptop"},
                {"__typename": "UserEvent", **CREATED, "user": {"username": "ada"}},
                {"__typename": "User", "email": "bob@example.com"},
            ],
        }
    }


async def test_errors_of_a_subgraph_keep_their_code_and_path(graph: Graph) -> None:
    malformed = ("INVALID_ID", ["devices", "nodes", 4, "owner"])
    for gateway in GATEWAYS:
        answer = await graph.send(gateway, DEVICES, READER)
        assert answer["data"] == devices(ADA, BOB, ADA, None, None, None)
        assert codes(answer) == [malformed]
        hidden = await graph.send(gateway, DEVICES, NO_SCOPES)
        assert hidden["data"] == devices(*[None] * 6)
        assert codes(hidden) == [malformed]
        answer = await graph.send(gateway, '{ user(id: "x") { username } }')
        assert (answer["data"], codes(answer)) == ({"user": None}, [("INVALID_ID", ["user"])])
        forbidden = await graph.send(gateway, "{ userEvents { nodes { id } } }", READER)
        assert codes(forbidden) == [("FORBIDDEN", ["userEvents"])]
        two_keys = await graph.send(gateway, '{ userBy(by: { id: "x", username: "ada" }) { id } }')
        assert "UserBy' must specify exactly one key" in json.dumps(two_keys).replace('\\"', "'")
        for hidden_field in ("_service { sdl }", "_entities(representations: []) { __typename }"):
            answer = await graph.send(gateway, f"{{ {hidden_field} }}")
            assert codes(answer) == [("GRAPHQL_VALIDATION_FAILED", None)]


async def test_rejected_caller_gets_the_data_of_other_subgraphs_and_an_error(graph: Graph) -> None:
    for gateway in GATEWAYS:
        for bearer, message in (
            (None, "A bearer token is required."),
            ("invalid", "This token is not accepted."),
        ):
            answer = await graph.send(gateway, DEVICES, bearer)
            assert answer["data"] == devices(*[None] * 6)
            assert {code for code, _ in codes(answer)} == {"UNAUTHENTICATED"}
            assert message in json.dumps(answer["errors"])
            users = await graph.send(gateway, "{ users { nodes { username } } }", bearer)
            assert users["data"] in (None, {"users": None})
            assert {code for code, _ in codes(users)} == {"UNAUTHENTICATED"}


async def test_subscription_through_hives_gateway_reads_other_subgraphs(graph: Graph) -> None:
    body = {"query": "subscription { userEvents { type user { username devices { name } } } }"}
    headers = {"authorization": f"Bearer {ADMIN}", "accept": "text/event-stream"}
    url = graph.gateways["hive"]

    async def first(lines: Any) -> Any:
        async for line in lines:
            if line.startswith("data: {"):
                return json.loads(line.removeprefix("data: "))
        return None

    async with graph.http.stream("POST", url, json=body, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        found = asyncio.create_task(first(lines))
        # The feed begins when Roster has accepted the subscription.
        for attempt in itertools.count():
            await graph.create("roster", f"user{attempt}")
            done, _ = await asyncio.wait([found], timeout=0.5)
            if done:
                break
        event = (await found)["data"]["userEvents"]
    assert event["type"] == "CREATED"
    assert event["user"]["username"].startswith("user")
    assert event["user"]["devices"] == []
