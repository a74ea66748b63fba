"""validateOnly returns the errors of the write, and changes nothing."""

from typing import Any

import pytest

from tests.support.client import CREATE, Client, count

CREATIONS: list[dict[str, Any]] = [
    {"username": "grace", "email": "grace@example.com"},
    {"username": "ADA", "email": "ada@example.com", "externalId": "hr-1"},
    {"username": "", "email": "ada@example.com"},
    {"username": "grace", "email": "", "displayName": "x\x00"},
]
CHANGES: list[dict[str, Any]] = [
    {"username": "grace"},
    {"username": "ada"},
    {"username": None, "email": "x", "displayName": "", "externalId": "hr-1"},
    {"displayName": "Bob", "expectedVersion": 7},
    {},
]


async def test_validate_only_of_a_valid_creation_creates_nothing(client: Client) -> None:
    checked = await client.ask(CREATE, input=CREATIONS[0] | {"validateOnly": True})
    assert checked == {"user": None, "errors": []}
    assert await count(client.database) == (0, 0)
    done = await client.ask(CREATE, input=CREATIONS[0])
    assert (done["user"]["username"], done["errors"]) == ("grace", [])


@pytest.mark.parametrize("fields", CREATIONS[1:])
async def test_validate_only_of_an_invalid_creation_returns_the_writes_errors(
    client: Client, fields: dict[str, Any]
) -> None:
    await client.create("ada", externalId="hr-1")
    checked = await client.ask(CREATE, input=fields | {"validateOnly": True})
    assert checked["errors"]
    assert checked == await client.ask(CREATE, input=fields)
    assert await count(client.database) == (1, 1)


@pytest.mark.parametrize("fields", CHANGES)
async def test_validate_only_of_an_update_returns_the_writes_errors(
    client: Client, fields: dict[str, Any]
) -> None:
    await client.create("ada", externalId="hr-1")
    bob = await client.create("bob")
    checked = await client.mutate("updateUser", bob["id"], validateOnly=True, **fields)
    assert (checked["user"], checked["changed"]) == (None, False)
    assert await count(client.database) == (2, 2)
    now = await client.ask("query ($id: ID!) { user(id: $id) { username version } }", id=bob["id"])
    assert now == {"username": "bob", "version": 1}
    done = await client.mutate("updateUser", bob["id"], **fields)
    assert done["errors"] == checked["errors"]


async def test_validate_only_reports_an_unknown_user(client: Client) -> None:
    payload = await client.mutate("updateUser", "VXNlcjo5OQ", validateOnly=True, username="")
    assert [e["code"] for e in payload["errors"]] == ["NOT_FOUND", "TOO_SHORT"]
