"""VersionConflictError: who changed the user since the expected version, and what."""

from typing import Any

import pytest

from tests.support.callers import DirectoryClient, service
from tests.support.client import Client
from users.policy import Scope

SELECTED = """errors { __typename code ... on VersionConflictError { changedFields changedAt
  current { updatedAt } changedBy { type actorId label user { id } }
  changes { fieldName before after redacted } } }"""
ONE = "mutation ($input: %s!) { %s(input: $input) { " + SELECTED + " } }"
BULK = (
    "mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { results { "
    + SELECTED
    + " } } }"
)
KINDS = {
    "updateUser": "UpdateUserInput",
    "deleteUser": "DeleteUserInput",
    "eraseUser": "EraseUserInput",
    "deactivateUser": "UserTransitionInput",
    "restoreUser": "UserTransitionInput",
}


def change(name: str, before: str | None, after: str | None, **more: Any) -> dict[str, Any]:
    return {"fieldName": name, "before": before, "after": after, "redacted": False} | more


def checked(error: dict[str, Any]) -> dict[str, Any]:
    assert error.pop("changedAt") == error.pop("current")["updatedAt"]
    assert error.pop("__typename") == "VersionConflictError"
    return error


async def conflict(client: Client, verb: str, **given: Any) -> dict[str, Any]:
    [error] = (await client.ask(ONE % (KINDS[verb], verb), input=given))["errors"][:1]
    return checked(error)


async def changed_user(client: Client) -> str:
    user = await client.create("ada", displayName="Ada")
    for fields in ({"displayName": "B"}, {"displayName": "C", "externalId": "1"}):
        await client.mutate("updateUser", user["id"], **fields)
    await client.mutate("updateUser", user["id"], displayName="D", externalId=None)
    found: str = user["id"]
    return found


@pytest.mark.parametrize("verb", KINDS)
async def test_conflict_has_the_net_changes_and_the_latest_author(
    client: Client, verb: str
) -> None:
    user_id = await changed_user(client)
    [event] = (
        await client.ask("{ userEvents(last: 1) { nodes { actor { type actorId label } } } }")
    )["nodes"]
    more = {"confirmUsername": "ada", "reason": "Asked"} if verb == "eraseUser" else {}
    found = await conflict(client, verb, id=user_id, expectedVersion=1, **more)
    assert found == {
        "code": "VERSION_CONFLICT",
        "changedFields": ["displayName", "externalId"],
        "changedBy": event["actor"] | {"user": None},
        "changes": [change("DISPLAY_NAME", "Ada", "D")],
    }


async def test_conflict_with_a_later_version_has_no_changes(client: Client) -> None:
    found = await conflict(client, "updateUser", id=await changed_user(client), expectedVersion=9)
    assert (found["changedFields"], found["changes"]) == ([], [])
    assert found["changedBy"] is not None


async def test_conflict_with_an_erased_user_has_redacted_changes(client: Client) -> None:
    user_id = await changed_user(client)
    await client.mutate("deleteUser", user_id)
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": user_id, "confirmUsername": "ada", "reason": "Asked"}
    assert await client.ask(erase, input=given) == {"errors": []}
    found = await conflict(client, "updateUser", id=user_id, expectedVersion=3)
    gone: dict[str, Any] = {"before": None, "after": None, "redacted": True}
    names = ("USERNAME", "EMAIL", "DISPLAY_NAME", "EXTERNAL_ID")
    assert found["changes"] == [
        *({"fieldName": name, **gone} for name in names),
        change("STATUS", "ACTIVE", "DELETED"),
    ]


async def test_conflicts_of_a_batch_are_read_with_one_statement(
    client: Client, statements: list[str]
) -> None:
    user_id = await changed_user(client)
    bob = (await client.create("bob"))["id"]
    await client.mutate("updateUser", bob, displayName="Bob")
    items = [(user_id, 1), (user_id, 3), (bob, 1)]
    operations = [
        {"update": {"id": i, "expectedVersion": version, "displayName": "x"}}
        for i, version in items
    ]
    statements.clear()
    answer = await client.ask(BULK, input={"operations": operations, "mode": "PARTIAL"})
    assert [checked(result["errors"][0])["changes"] for result in answer["results"]] == [
        [change("DISPLAY_NAME", "Ada", "D")],
        [change("DISPLAY_NAME", "C", "D"), change("EXTERNAL_ID", "1", None)],
        [change("DISPLAY_NAME", None, "Bob")],
    ]
    assert len([s for s in statements if "asked" in s]) == 1


async def test_change_undone_with_its_batch_has_no_author(client: Client) -> None:
    user_id = await changed_user(client)
    operations = [
        {"update": {"id": user_id, "expectedVersion": 4, "displayName": name}} for name in "xy"
    ]
    answer = await client.ask(BULK, input={"operations": operations})
    found = checked(answer["results"][1]["errors"][0])
    assert (found["changedBy"], found["changes"]) == (None, None)


async def test_caller_without_the_history_gets_neither_author_nor_changes(
    directory: DirectoryClient, statements: list[str]
) -> None:
    query = ONE % ("UpdateUserInput", "updateUser")
    for caller, is_seen in (
        (service(Scope.READ, Scope.WRITE), False),
        (service(Scope.READ, Scope.WRITE, Scope.HISTORY), True),
    ):
        statements.clear()
        given = {"id": "VXNlcjoy", "expectedVersion": 0}
        [error] = (await directory.ask(caller, query, input=given))["errors"]
        found = checked(error)
        assert (found["changes"] is not None, found["changedBy"] is not None) == (is_seen, is_seen)
        assert any("asked" in s for s in statements) is is_seen
