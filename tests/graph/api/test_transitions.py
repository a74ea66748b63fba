"""deactivateUser, reactivateUser, deleteUser and restoreUser: status transitions."""

from itertools import product
from typing import Any

import pytest

from tests.support.client import Client, count

VERBS = {
    "deactivateUser": ("DEACTIVATED", "DEACTIVATED"),
    "reactivateUser": ("REACTIVATED", "ACTIVE"),
    "deleteUser": ("DELETED", "DELETED"),
    "restoreUser": ("RESTORED", "DEACTIVATED"),
}
# The mutations that bring a new user into each status.
WAYS = {"ACTIVE": [], "DEACTIVATED": ["deactivateUser"], "DELETED": ["deleteUser"]}
REFUSED = {
    ("deactivateUser", "DELETED"): "A deleted user cannot be deactivated. Restore it first.",
    ("reactivateUser", "DELETED"): "A deleted user cannot be reactivated. Restore it first.",
    ("restoreUser", "ACTIVE"): "Only a deleted user can be restored.",
}
TIMES = "query ($id: ID!) { user(id: $id) { statusChangedAt updatedAt deletedAt createdAt } }"


CASES = list(product(VERBS, WAYS))
REPEATS = [(verb, status) for verb, status in CASES if VERBS[verb][1] == status]
CHANGES = [case for case in CASES if case not in {*REPEATS, *REFUSED}]


async def user_in(client: Client, status: str) -> dict[str, Any]:
    user = await client.create("ada")
    for way in WAYS[status]:
        user = (await client.mutate(way, user["id"]))["user"]
    return user


async def state(client: Client, user: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Returns the user's times and the number of events."""
    _, events = await count(client.database)
    return await client.ask(TIMES, id=user["id"]), events


@pytest.mark.parametrize(("verb", "status"), REFUSED)
async def test_transition_that_a_status_does_not_permit_is_rejected_and_changes_nothing(
    client: Client, verb: str, status: str
) -> None:
    user = await user_in(client, status)
    before = await state(client, user)
    payload = await client.mutate(verb, user["id"], reason=" because ")
    error = {
        "__typename": "TransitionError",
        "code": "INVALID_TRANSITION",
        "message": REFUSED[verb, status],
        "path": ["input", "id"],
    }
    assert payload == {"user": None, "changed": False, "errors": [error]}
    assert await state(client, user) == before


@pytest.mark.parametrize(("verb", "status"), REPEATS)
async def test_repeated_transition_returns_the_user_and_changes_nothing(
    client: Client, verb: str, status: str
) -> None:
    user = await user_in(client, status)
    before = await state(client, user)
    payload = await client.mutate(verb, user["id"], reason=" because ")
    assert payload == {"user": user, "changed": False, "errors": []}
    assert await state(client, user) == before


@pytest.mark.parametrize(("verb", "status"), CHANGES)
async def test_permitted_transition_changes_the_status_and_records_an_event(
    client: Client, verb: str, status: str
) -> None:
    user = await user_in(client, status)
    before, events_before = await state(client, user)
    payload = await client.mutate(verb, user["id"], reason=" because ")
    after, _ = await state(client, user)
    event, target = VERBS[verb]
    changed = user | {
        "status": target,
        "isActive": target == "ACTIVE",
        "statusReason": "because",
        "version": user["version"] + 1,
        "deletedAt": after["updatedAt"] if target == "DELETED" else None,
    }
    assert payload == {"user": changed, "changed": True, "errors": []}
    assert after["statusChangedAt"] == after["updatedAt"] > before["updatedAt"]
    assert after["createdAt"] == before["createdAt"]
    assert (await client.events(user["id"]))[events_before:] == [
        {
            "type": event,
            "reason": "because",
            "versionAfter": user["version"] + 1,
            "changes": [
                {"field": "status", "before": status, "after": target},
                {"field": "statusReason", "before": None, "after": "because"},
            ],
            "actor": {"kind": "system", "id": None, "label": "development"},
        }
    ]


@pytest.mark.parametrize("verb", VERBS)
async def test_invalid_reason_is_rejected_and_changes_nothing(client: Client, verb: str) -> None:
    user = await client.create("ada")
    for reason, code in (("", "TOO_SHORT"), ("x" * 501, "TOO_LONG"), ("a\x00", "INVALID_FORMAT")):
        payload = await client.mutate(verb, user["id"], reason=reason)
        assert payload["user"] is None
        assert (code, ["input", "reason"]) in [(e["code"], e["path"]) for e in payload["errors"]]
    assert await count(client.database) == (1, 1)


async def test_transition_without_a_reason_clears_the_previous_reason(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deactivateUser", user["id"], reason="on leave")
    payload = await client.mutate("reactivateUser", user["id"])
    assert payload["user"] == user | {"version": 3}


async def test_delete_user_returns_the_deleted_users_id(client: Client) -> None:
    user = await client.create("ada")
    query = """mutation ($id: ID!) { deleteUser(input: {id: $id}) { deletedUserId changed } }"""
    assert await client.ask(query, id=user["id"]) == {"deletedUserId": user["id"], "changed": True}
    assert await client.ask(query, id=user["id"]) == {"deletedUserId": user["id"], "changed": False}
    assert await client.ask(query, id="VXNlcjo5OQ") == {"deletedUserId": None, "changed": False}


async def test_restore_reports_keys_taken_in_the_meantime(client: Client) -> None:
    user = await client.create("ada", externalId="hr-1")
    await client.mutate("deleteUser", user["id"])
    await client.create("ADA", email="other@example.com", externalId="hr-1")
    payload = await client.mutate("restoreUser", user["id"])
    assert payload["user"] is None
    assert payload["changed"] is False
    assert [(e["code"], e["path"]) for e in payload["errors"]] == [
        ("TAKEN", ["input", "username"]),
        ("TAKEN", ["input", "externalId"]),
    ]
    assert await count(client.database) == (2, 3)
    status = await client.ask("query ($id: ID!) { user(id: $id) { status } }", id=user["id"])
    assert status == {"status": "DELETED"}


async def test_restored_user_has_the_previous_keys(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"])
    payload = await client.mutate("restoreUser", user["id"])
    assert payload["user"] == user | {"status": "DEACTIVATED", "isActive": False, "version": 3}
    assert await client.ask('{ userBy(by: {username: "ADA"}) { id } }') == {"id": user["id"]}
