"""expectedVersion: a write with another version fails with the changes since then."""

from typing import Any

import pytest

from tests.support.client import Client, count

CONFLICT = """mutation ($input: %s!) { %s(input: $input) { user { id } changed errors {
  __typename code message path ... on VersionConflictError {
    expectedVersion actualVersion changedFields current { username displayName version } } } } }"""
INPUTS = {
    "updateUser": "UpdateUserInput",
    "deleteUser": "DeleteUserInput",
    "deactivateUser": "UserTransitionInput",
    "reactivateUser": "UserTransitionInput",
    "restoreUser": "UserTransitionInput",
}


def conflict(expected: int, actual: int, changed: list[str], **current: Any) -> dict[str, Any]:
    return {
        "__typename": "VersionConflictError",
        "code": "VERSION_CONFLICT",
        "message": "The user was changed in the meantime.",
        "path": ["input", "expectedVersion"],
        "expectedVersion": expected,
        "actualVersion": actual,
        "changedFields": changed,
        "current": {"username": "ada", "displayName": None, "version": actual} | current,
    }


@pytest.mark.parametrize("verb", INPUTS)
async def test_stale_expected_version_is_rejected_with_the_current_user(
    client: Client, verb: str
) -> None:
    user = await client.create("ada")
    await client.mutate("updateUser", user["id"], displayName="Ada")
    await client.mutate("updateUser", user["id"], externalId="hr-1", displayName="Lady Ada")
    if verb == "restoreUser":
        await client.mutate("deleteUser", user["id"])
    if verb == "reactivateUser":
        await client.mutate("deactivateUser", user["id"])
    version, changed = 3, ["displayName", "externalId"]
    if verb in {"restoreUser", "reactivateUser"}:
        version, changed = 4, [*changed, "status"]
    before = await count(client.database)
    query = CONFLICT % (INPUTS[verb], verb)
    for expected, since in ((1, changed), (version + 1, []), (0, ["username", "email", *changed])):
        if expected == 0 and "status" not in since:
            since = [*since, "status"]  # noqa: PLW2901 - set by the creation
        payload = await client.ask(query, input={"id": user["id"], "expectedVersion": expected})
        assert payload == {
            "user": None,
            "changed": False,
            "errors": [conflict(expected, version, since, displayName="Lady Ada")],
        }
    assert await count(client.database) == before


@pytest.mark.parametrize("verb", ["updateUser", "deactivateUser", "deleteUser"])
async def test_current_expected_version_is_accepted_once(client: Client, verb: str) -> None:
    user = await client.create("ada")
    fields = {"displayName": "Ada"} if verb == "updateUser" else {}
    payload = await client.mutate(verb, user["id"], expectedVersion=1, **fields)
    assert (payload["changed"], payload["user"]["version"], payload["errors"]) == (True, 2, [])
    again = await client.mutate(verb, user["id"], expectedVersion=1, **fields)
    assert [e["code"] for e in again["errors"]] == ["VERSION_CONFLICT"]
    assert await count(client.database) == (1, 2)


async def test_version_conflict_is_reported_with_other_violations(client: Client) -> None:
    user = await client.create("ada")
    await client.create("bob")
    await client.mutate("deleteUser", user["id"])
    payload = await client.mutate(
        "updateUser", user["id"], username="bob", email="x", expectedVersion=1
    )
    assert [(e["__typename"], e["path"]) for e in payload["errors"]] == [
        ("VersionConflictError", ["input", "expectedVersion"]),
        ("TransitionError", ["input", "id"]),
        ("FieldError", ["input", "email"]),
        ("FieldError", ["input", "username"]),
    ]
