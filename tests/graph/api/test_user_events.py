"""userEvents: the events of all users, filtered and paged."""

from typing import Any

import pytest

from tests.support.client import Client

EVENTS = """query ($first: Int, $after: String, $last: Int, $before: String,
                 $filter: UserEventFilter) {
  userEvents(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { cursor } }
    nodes { type versionAfter user { username } at }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@pytest.fixture
async def busy(client: Client) -> list[dict[str, Any]]:
    """Two users with five alternating events."""
    ada, bob = await client.create("ada"), await client.create("bob")
    await client.mutate("updateUser", ada["id"], displayName="Ada")
    await client.mutate("deleteUser", bob["id"])
    await client.mutate("deactivateUser", ada["id"])
    return [ada, bob]


def names_and_types(page: dict[str, Any]) -> list[tuple[str, str]]:
    assert [e["cursor"] for e in page["edges"]] == [e["node"]["cursor"] for e in page["edges"]]
    return [(node["user"]["username"], node["type"]) for node in page["nodes"]]


ALL = [
    ("ada", "CREATED"),
    ("bob", "CREATED"),
    ("ada", "UPDATED"),
    ("bob", "DELETED"),
    ("ada", "DEACTIVATED"),
]


@pytest.mark.usefixtures("busy")
async def test_all_events_are_paged_in_order_in_both_directions(client: Client) -> None:
    assert names_and_types(await client.ask(EVENTS)) == ALL
    forwards, after = [], None
    while True:
        page = await client.ask(EVENTS, first=2, after=after)
        forwards += names_and_types(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    backwards: list[tuple[str, str]] = []
    before = None
    while True:
        page = await client.ask(EVENTS, last=2, before=before)
        backwards = names_and_types(page) + backwards
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert forwards == backwards == ALL


async def test_filter_finds_the_matching_events(client: Client, busy: list[dict[str, Any]]) -> None:
    ada, bob = busy
    moments = [node["at"] for node in (await client.ask(EVENTS))["nodes"]]
    cases: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({}, ALL),
        ({"userId": None, "type": None, "actorId": None, "at": None}, ALL),
        ({"userId": [bob["id"]]}, [ALL[1], ALL[3]]),
        ({"userId": [ada["id"], bob["id"]], "type": ["CREATED"]}, ALL[:2]),
        ({"userId": []}, []),
        ({"type": ["DELETED", "UPDATED"]}, ALL[2:4]),
        ({"actorId": ["nobody", "\x00", "\ud800"]}, []),
        ({"at": {}}, ALL),
        ({"at": {"gte": moments[1], "lt": moments[4]}}, ALL[1:4]),
        ({"at": {"gt": moments[1], "lte": moments[4]}}, ALL[2:]),
        ({"at": {"gt": "9999-12-31T23:59:59Z"}}, []),
        ({"at": {"isNull": True}}, []),
        ({"at": {"isNull": False}}, ALL),
        ({"at": {"gt": "0001-01-01T00:00:00Z"}}, ALL),
    ]
    for wanted, found in cases:
        assert names_and_types(await client.ask(EVENTS, filter=wanted)) == found, wanted


async def test_cursor_of_a_history_is_valid_in_user_events(
    client: Client, busy: list[dict[str, Any]]
) -> None:
    history = await client.ask(
        "query ($id: ID!) { user(id: $id) { history(first: 1) { nodes { cursor } } } }",
        id=busy[1]["id"],
    )
    cursor = history["history"]["nodes"][0]["cursor"]
    assert names_and_types(await client.ask(EVENTS, after=cursor)) == ALL[2:]


async def test_invalid_filter_or_page_arguments_are_rejected(client: Client) -> None:
    for arguments, code in (
        ({"first": -1}, "INVALID_ARGUMENT"),
        ({"after": "nonsense"}, "INVALID_CURSOR"),
        ({"filter": {"userId": ["nonsense"]}}, "INVALID_ID"),
        ({"filter": {"actorId": ["x"] * 101}}, "INVALID_ARGUMENT"),
    ):
        answer = await client.send(EVENTS, **arguments)
        assert answer["data"] == {"userEvents": None}
        assert [e["extensions"] for e in answer["errors"]] == [{"code": code}]
    answer = await client.send(EVENTS, filter={"at": {"gt": "yesterday"}})
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]
