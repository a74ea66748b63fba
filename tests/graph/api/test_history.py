from typing import Any

import pytest

from graph.api import cursors
from tests.support.client import Client

HISTORY = """query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
  user(id: $id) { history(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { cursor versionAfter } } nodes { versionAfter }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""


@pytest.fixture
async def renamed(client: Client) -> dict[str, Any]:
    """A user with nine versions, whose events alternate with those of another user."""
    user, other = await client.create("ada"), await client.create("bob")
    for number in range(8):
        for someone in (user, other):
            await client.mutate("updateUser", someone["id"], displayName=f"Name {number}")
    return user


async def versions(client: Client, user: dict[str, Any], **window: Any) -> tuple[list[int], Any]:
    history = (await client.ask(HISTORY, id=user["id"], **window))["history"]
    assert [e["node"]["versionAfter"] for e in history["edges"]] == [
        n["versionAfter"] for n in history["nodes"]
    ]
    assert all(e["cursor"] == e["node"]["cursor"] for e in history["edges"])
    return [n["versionAfter"] for n in history["nodes"]], history["pageInfo"]


async def test_history_is_sorted_from_oldest_to_newest(
    client: Client, renamed: dict[str, Any]
) -> None:
    found, info = await versions(client, renamed)
    assert found == list(range(1, 10))
    assert info["hasNextPage"] is info["hasPreviousPage"] is False


async def test_history_can_be_paged_forwards_and_backwards(
    client: Client, renamed: dict[str, Any]
) -> None:
    first, info = await versions(client, renamed, first=4)
    assert (first, info["hasNextPage"], info["hasPreviousPage"]) == ([1, 2, 3, 4], True, False)
    second, after = await versions(client, renamed, first=5, after=info["endCursor"])
    assert (second, after["hasNextPage"], after["hasPreviousPage"]) == (
        [5, 6, 7, 8, 9],
        False,
        True,
    )
    last, end = await versions(client, renamed, last=3)
    assert (last, end["hasNextPage"], end["hasPreviousPage"]) == ([7, 8, 9], False, True)
    rest, begin = await versions(client, renamed, last=100, before=end["startCursor"])
    assert (rest, begin["hasNextPage"], begin["hasPreviousPage"]) == (
        [1, 2, 3, 4, 5, 6],
        True,
        False,
    )


@pytest.mark.usefixtures("renamed")
async def test_histories_of_many_users_are_read_in_one_statement(
    client: Client, statements: list[str]
) -> None:
    await client.app.state.feed.watermark()  # the first read costs more
    statements.clear()
    answer = await client.ask("""{
      users(orderBy: [{field: USERNAME}]) { nodes {
        history(last: 2) { nodes { versionAfter user { username } } }
        start: history(first: 1) { nodes { versionAfter } pageInfo { hasNextPage } } } } }""")
    assert answer == {
        "nodes": [
            {
                "history": {
                    "nodes": [
                        {"versionAfter": 8, "user": {"username": name}},
                        {"versionAfter": 9, "user": {"username": name}},
                    ]
                },
                "start": {"nodes": [{"versionAfter": 1}], "pageInfo": {"hasNextPage": True}},
            }
            for name in ("ada", "bob")
        ]
    }
    # The page, both windows of all histories, the events' users; and if a lower event may still
    # be uncommitted, the watermark at which both windows end.
    assert len(statements) == (4 if client.database.is_sqlite else 5)


async def test_invalid_page_arguments_of_a_history_are_rejected(
    client: Client, renamed: dict[str, Any]
) -> None:
    for window, code in (
        ({"first": -1}, "INVALID_ARGUMENT"),
        ({"last": 101}, "INVALID_ARGUMENT"),
        ({"first": 1, "last": 1}, "INVALID_ARGUMENT"),
        ({"after": "nonsense"}, "INVALID_CURSOR"),
        ({"after": cursors.encode("events", [0])}, "INVALID_CURSOR"),
        ({"before": cursors.encode("USERNAME ASC", ["ada", 1])}, "INVALID_CURSOR"),
    ):
        answer = await client.send(HISTORY, id=renamed["id"], **window)
        assert answer["data"] == {"user": {"history": None}}
        assert [(e["path"], e["extensions"]) for e in answer["errors"]] == [
            (["user", "history"], {"code": code})
        ]
