"""upsertUser: updates the user with the key, or creates one."""

import asyncio
from typing import Any

import pytest

from tests.support.client import ERRORS, USER, Client, count

UPSERT = f"""mutation ($input: UpsertUserInput!) {{ upsertUser(input: $input) {{
  user {{ {USER} }} created changed {ERRORS} }} }}"""


async def upsert(client: Client, by: dict[str, Any], **fields: Any) -> dict[str, Any]:
    payload: dict[str, Any] = await client.ask(UPSERT, input={"by": by} | fields)
    return payload


@pytest.mark.parametrize(
    ("by", "fields"),
    [
        ({"username": "Ada"}, {"email": "ada@example.com", "externalId": "hr-1"}),
        ({"email": "ada@example.com"}, {"username": "Ada", "externalId": "hr-1"}),
        ({"externalId": "hr-1"}, {"username": "Ada", "email": "ada@example.com"}),
        (
            {"username": "x y"},
            {"username": "Ada", "email": "ada@example.com", "externalId": "hr-1"},
        ),
    ],
)
async def test_upsert_creates_a_user_with_an_unknown_key_and_then_updates_it(
    client: Client, by: dict[str, Any], fields: dict[str, Any]
) -> None:
    first = await upsert(client, by, displayName="Ada", **fields)
    assert (first["created"], first["changed"], first["errors"]) == (True, True, [])
    user = first["user"]
    assert (user["username"], user["email"], user["externalId"]) == (
        "Ada",
        "ada@example.com",
        "hr-1",
    )
    if by == {"username": "x y"}:
        return
    again = await upsert(client, by, displayName="Ada", **fields)
    assert again == {"user": user, "created": False, "changed": False, "errors": []}
    changed = await upsert(client, by, displayName=None)
    assert changed == {
        "user": user | {"displayName": None, "version": 2},
        "created": False,
        "changed": True,
        "errors": [],
    }
    assert [e["type"] for e in await client.events(user["id"])] == ["CREATED", "UPDATED"]
    assert await count(client.database) == (1, 2)


async def test_upsert_key_ignores_case_and_normalization(client: Client) -> None:
    user = await client.create("Émile")
    payload = await upsert(client, {"username": "E\u0301MILE"}, displayName="É")
    assert payload["user"] == user | {"displayName": "É", "version": 2}
    assert payload["created"] is False


async def test_upsert_by_an_unknown_id_is_rejected(client: Client) -> None:
    user = await client.create("ada")
    for by in ({"id": user["id"]}, {"databaseId": "1"}):
        payload = await upsert(client, by, displayName=f"by {next(iter(by))}")
        assert (payload["created"], payload["changed"], payload["errors"]) == (False, True, [])
    for by, code, path in (
        ({"id": "VXNlcjo5OQ"}, "NOT_FOUND", "id"),
        ({"id": "nonsense"}, "INVALID_FORMAT", "id"),
        ({"databaseId": "99"}, "NOT_FOUND", "databaseId"),
    ):
        payload = await upsert(client, by, username="bob", email="bob@example.com")
        assert payload["user"] is None
        assert [(e["code"], e["path"]) for e in payload["errors"]] == [
            (code, ["input", "by", path])
        ]
    assert await count(client.database) == (1, 3)


async def test_upsert_reports_violations_with_their_paths(client: Client) -> None:
    await client.create("ada", externalId="hr-1")
    for by, fields, expected_errors in (
        (
            {"username": "x y"},
            {},
            [("INVALID_FORMAT", ["by", "username"]), ("REQUIRED", ["email"])],
        ),
        (
            {"email": "x"},
            {"username": None},
            [("REQUIRED", ["username"]), ("INVALID_FORMAT", ["by", "email"])],
        ),
        (
            {"externalId": ""},
            {"username": "bob", "email": "bob@example.com"},
            [("TOO_SHORT", ["by", "externalId"])],
        ),
        ({"username": "bob"}, {"email": "ADA@example.com"}, [("TAKEN", ["email"])]),
        (
            {"username": "bob"},
            {"username": "ada", "email": "bob@example.com"},
            [("TAKEN", ["username"])],
        ),
        (
            {"username": "bob"},
            {"email": "b@example.com", "expectedVersion": 1},
            [("NOT_FOUND", ["by"])],
        ),
        (
            {"username": "ada"},
            {"email": "x", "expectedVersion": 2},
            [("VERSION_CONFLICT", ["expectedVersion"]), ("INVALID_FORMAT", ["email"])],
        ),
    ):
        payload = await upsert(client, by, **fields)
        assert (payload["user"], payload["created"], payload["changed"]) == (None, False, False)
        assert [(e["code"], e["path"][1:]) for e in payload["errors"]] == expected_errors, by
    assert await count(client.database) == (1, 1)


async def test_upsert_by_the_key_of_a_deleted_user_creates_a_new_user(client: Client) -> None:
    user = await client.create("ada", externalId="hr-1")
    await client.mutate("deleteUser", user["id"])
    payload = await upsert(client, {"externalId": "hr-1"}, username="ada", email="ada@example.com")
    assert payload["created"] is True
    assert payload["user"]["id"] != user["id"]


async def test_concurrent_upserts_create_once_and_then_update(client: Client) -> None:
    for n in range(20):
        payloads = await asyncio.gather(
            *(
                upsert(
                    client,
                    {"externalId": f"hr-{n}"},
                    username=f"user{n}",
                    email=f"user{n}@example.com",
                    displayName=f"Name {i}",
                )
                for i in range(5)
            )
        )
        assert [p["errors"] for p in payloads] == [[]] * 5
        assert sum(p["created"] for p in payloads) == 1
        assert {p["user"]["id"] for p in payloads} == {payloads[0]["user"]["id"]}
        assert sorted(p["user"]["version"] for p in payloads) == [1, 2, 3, 4, 5]
    assert await count(client.database) == (20, 100)
