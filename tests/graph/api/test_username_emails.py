"""Usernames that are e-mail addresses. Services may sign users in by either."""

from typing import Any

import pytest
from sqlalchemy import update

from db.models import User
from graph.settings import Settings
from tests.support.client import CREATE, Client, count, serving
from users.identity import UsernameEmails

OWN, ANY, NONE = UsernameEmails
OTHERS = ("username", "A username that is an e-mail address must be the user's own address.")
ADDRESS = ("username", "A username cannot be an e-mail address.")
BOTH = ("email", "The old address is the user's username, too. Change both together.")
UPSERT = """mutation ($input: UpsertUserInput!) { upsertUser(input: $input) {
  user { username email } errors { code message path } } }"""
BULK = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) {
  results { errors { code message path } } } }"""


def reserved_errors(errors: list[dict[str, Any]]) -> list[tuple[str, str]]:
    assert all(error["code"] == "RESERVED" for error in errors), errors
    return [(error["path"][-1], error["message"]) for error in errors]


@pytest.mark.parametrize(
    ("mode", "username", "email", "expected"),
    [
        (OWN, "ada@example.com", "ada@example.com", []),
        (OWN, "ADA@Example.COM", "ada@example.com", []),
        (OWN, "ada@bücher.example", "ada@xn--bcher-kva.example", []),
        (OWN, "mia@example.com", "ada@example.com", [OTHERS]),
        (OWN, "ＭＩＡ@example.com", "ada@example.com", [OTHERS]),
        (OWN, "@ada", "ada@example.com", []),  # no address
        (OWN, "ada@home", "ada@example.com", []),
        (ANY, "mia@example.com", "ada@example.com", []),
        (NONE, "ada@example.com", "ada@example.com", [ADDRESS]),
        (NONE, "ada@home", "ada@example.com", []),
    ],
)
async def test_new_username_that_is_an_address_follows_the_setting(
    database_url: str,
    mode: UsernameEmails,
    username: str,
    email: str,
    expected: list[tuple[str, str]],
) -> None:
    given = {"username": username, "email": email}
    async with serving(Settings(database_url=database_url, username_emails=mode)) as client:
        tried = await client.ask(CREATE, input=given | {"validateOnly": True})
        assert reserved_errors(tried["errors"]) == expected
        bulk = await client.ask(BULK, input={"operations": [{"create": given}], "mode": "PARTIAL"})
        assert reserved_errors(bulk["results"][0]["errors"]) == expected
        assert await count(client.database) == ((0, 0) if expected else (1, 1))
        created = await client.ask(CREATE, input=given | {"email": email})
        if expected:
            assert reserved_errors(created["errors"]) == expected
            upserted = {"by": {"email": email}, "username": username}
            payload = await client.ask(UPSERT, input=upserted)
            assert (payload["user"], reserved_errors(payload["errors"])) == (None, expected)
            assert await count(client.database) == (0, 0)


async def test_username_equal_to_the_own_email_must_change_with_it(client: Client) -> None:
    user = await client.create("ada@example.com", email="ada@example.com")
    moved = await client.mutate("updateUser", user["id"], email="ada@new.example")
    assert reserved_errors(moved["errors"]) == [BOTH]
    renamed = await client.mutate("updateUser", user["id"], username="mia@example.com")
    assert reserved_errors(renamed["errors"]) == [OTHERS]
    both = {"username": "ada@new.example", "email": "ada@new.example"}
    assert (await client.mutate("updateUser", user["id"], **both))["errors"] == []
    assert (await client.mutate("updateUser", user["id"], username="ada"))["errors"] == []
    assert (await client.mutate("updateUser", user["id"], email="ada@example.com"))["errors"] == []


@pytest.mark.parametrize("mode", UsernameEmails)
async def test_username_from_before_the_setting_is_kept_until_changed(
    database_url: str, mode: UsernameEmails
) -> None:
    async with serving(Settings(database_url=database_url, username_emails=mode)) as client:
        user = await client.create("ada")
        other = {"username": "mia@example.com", "username_key": "mia@example.com"}
        async with client.database.session() as session, session.transaction():
            await session.execute(update(User).values(**other))
        for fields in (
            {"displayName": "Ada"},
            {"email": "ada@new.example"},
            {"username": "mia@example.com", "displayName": "Ada L."},
        ):
            assert (await client.mutate("updateUser", user["id"], **fields))["errors"] == [], fields
        changed = await client.mutate("updateUser", user["id"], username="eve@example.com")
        assert reserved_errors(changed["errors"]) == {OWN: [OTHERS], ANY: [], NONE: [ADDRESS]}[mode]
        assert (await client.mutate("updateUser", user["id"], username="ada"))["errors"] == []
