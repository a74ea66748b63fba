"""idempotencyKey on the mutations of existing users: a retry returns the first answer."""

import asyncio
from typing import Any

import pytest

from tests.graph.api.test_bulk_users import BULK
from tests.graph.api.test_idempotency import REUSED
from tests.support.client import ERRORS, USER, Client, count

CHANGE = f"user {{ {USER} updatedAt }} userEdge {{ cursor }} changed"
# The type of the input, the selected fields, and the mutations before it.
WRITES: dict[str, tuple[str, str, list[str]]] = {
    "updateUser": ("UpdateUserInput", CHANGE, []),
    "upsertUser": ("UpsertUserInput", f"{CHANGE} created", []),
    "deactivateUser": ("UserTransitionInput", CHANGE, []),
    "reactivateUser": ("UserTransitionInput", CHANGE, ["deactivateUser"]),
    "deleteUser": ("DeleteUserInput", f"{CHANGE} deletedUserId", []),
    "restoreUser": ("UserTransitionInput", CHANGE, ["deleteUser"]),
    "eraseUser": ("EraseUserInput", "erasedUserId", ["deleteUser"]),
}
LAST = {"changed": True, "replayed": False, "errors": []}


def keyed(verb: str) -> str:
    kind, fields, _ = WRITES[verb]
    return (
        f"mutation ($input: {kind}!) {{ {verb}(input: $input) {{ {fields} replayed {ERRORS} }} }}"
    )


async def prepared(client: Client, verb: str) -> dict[str, Any]:
    """Creates a user whom the mutation changes, and returns the input."""
    user = await client.create("ada")
    for earlier in WRITES[verb][2]:
        await client.mutate(earlier, user["id"])
    version = 1 + len(WRITES[verb][2])
    values: dict[str, Any] = {"id": user["id"], "reason": "asked"}
    if verb == "updateUser":
        values = {"id": user["id"], "displayName": "Ada"}
    if verb == "upsertUser":
        values = {"by": {"username": "ada"}, "displayName": "Ada"}
    if verb == "eraseUser":
        values["confirmUsername"] = "ada"
    return values | {"expectedVersion": version, "idempotencyKey": "k"}


@pytest.mark.parametrize("verb", WRITES)
async def test_retry_with_a_key_returns_the_first_answer_instead_of_a_conflict(
    client: Client, verb: str
) -> None:
    given = await prepared(client, verb)
    first = await client.ask(keyed(verb), input=given)
    assert (first["replayed"], first["errors"]) == (False, [])
    assert first.get("changed", True) is True
    before = await count(client.database)
    assert await client.ask(keyed(verb), input=given) == first | {"replayed": True}
    assert await count(client.database) == before

    other = await client.ask(keyed(verb), input=given | {"idempotencyKey": "other"})
    assert (other["replayed"], [e["code"] for e in other["errors"]][:1]) == (
        False,
        ["VERSION_CONFLICT"],
    )
    assert await count(client.database) == before


@pytest.mark.parametrize("verb", WRITES)
async def test_key_with_another_input_or_mutation_is_rejected(client: Client, verb: str) -> None:
    given = await prepared(client, verb)
    await client.ask(keyed(verb), input=given)
    before = await count(client.database)
    changed = await client.ask(keyed(verb), input=given | {"expectedVersion": 9})
    assert (changed["replayed"], changed["errors"]) == (False, [REUSED])
    another = "deactivateUser" if verb == "reactivateUser" else "reactivateUser"
    given = {key: given[key] for key in given if key in {"id", "reason", "idempotencyKey"}}
    crossed = await client.ask(keyed(another), input={"id": "VXNlcjox"} | given)
    assert (crossed["replayed"], crossed["errors"]) == (False, [REUSED])
    assert await count(client.database) == before


@pytest.mark.parametrize("verb", WRITES)
async def test_concurrent_requests_with_one_key_are_executed_once(
    client: Client, verb: str
) -> None:
    given = await prepared(client, verb)
    before = await count(client.database)
    payloads = await asyncio.gather(*(client.ask(keyed(verb), input=given) for _ in range(5)))
    assert sorted(payload.pop("replayed") for payload in payloads) == [False] + [True] * 4
    assert payloads == payloads[:1] * 5
    assert payloads[0]["errors"] == []
    assert await count(client.database) == (before[0], before[1] + 1)


async def test_answer_that_changed_nothing_uses_up_its_key(client: Client) -> None:
    user = await client.create("ada")
    given = {"id": user["id"], "idempotencyKey": "k"}
    first = await client.ask(keyed("reactivateUser"), input=given)
    assert (first["changed"], first["replayed"], first["errors"]) == (False, False, [])
    await client.mutate("deactivateUser", user["id"])
    again = await client.ask(keyed("reactivateUser"), input=given)
    assert again == first | {"replayed": True}
    assert [event["type"] for event in await client.events(user["id"])] == [
        "CREATED",
        "DEACTIVATED",
    ]


async def test_rejected_or_validated_request_does_not_use_up_its_key(client: Client) -> None:
    user = await client.create("ada")
    given = {"id": user["id"], "displayName": "Ada", "idempotencyKey": "k"}
    stale = await client.ask(keyed("updateUser"), input=given | {"expectedVersion": 9})
    assert [e["code"] for e in stale["errors"]] == ["VERSION_CONFLICT"]
    checked = await client.ask(keyed("updateUser"), input=given | {"validateOnly": True})
    assert (checked["user"], checked["replayed"], checked["errors"]) == (None, False, [])
    written = await client.ask(keyed("updateUser"), input=given)
    assert {name: written[name] for name in LAST} == LAST


async def test_erasure_removes_personal_data_from_replayed_answers(client: Client) -> None:
    given = await prepared(client, "updateUser")
    first = await client.ask(keyed("updateUser"), input=given)
    erase = {"id": given["id"], "confirmUsername": "ada", "reason": "asked"}
    await client.mutate("deleteUser", given["id"])
    await client.ask(keyed("eraseUser"), input=erase)
    again = await client.ask(keyed("updateUser"), input=given)
    assert again["replayed"] is True
    assert (first["user"]["username"], first["user"]["displayName"]) == ("ada", "Ada")
    shown = {name: again["user"][name] for name in ("username", "email", "displayName")}
    assert shown == {
        "username": "erased-1",
        "email": "erased-1@erased.invalid",
        "displayName": None,
    }


@pytest.mark.parametrize("key", ["", "k" * 256])
@pytest.mark.parametrize("verb", WRITES)
async def test_key_of_another_length_is_rejected(client: Client, verb: str, key: str) -> None:
    given = await prepared(client, verb)
    before = await count(client.database)
    payload = await client.ask(keyed(verb), input=given | {"idempotencyKey": key})
    code = "TOO_LONG" if key else "TOO_SHORT"
    assert [(e["code"], e["path"], e["min"], e["max"]) for e in payload["errors"]] == [
        (code, ["input", "idempotencyKey"], 1, 255)
    ]
    assert await count(client.database) == before


@pytest.mark.parametrize("verb", [verb for verb in WRITES if verb != "eraseUser"])
async def test_key_in_an_operation_of_a_batch_is_an_error(client: Client, verb: str) -> None:
    given = await prepared(client, verb)
    before = await count(client.database)
    operation = {verb.removesuffix("User"): given}
    answer = await client.send(BULK, input={"operations": [operation]})
    assert [e["message"] for e in answer["errors"]] == [
        "In `bulkUsers` the `idempotencyKey` is the batch's own."
    ]
    assert answer["data"] == {"bulkUsers": None}
    assert await count(client.database) == before
