"""The scope `users:link` is required by every write that sets or clears an external id."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from graphql import GraphQLInputObjectType

from tests.support.callers import SCOPE_SETS, DirectoryClient, id_of, linked, service
from tests.support.client import Client
from tests.support.schema import CORE
from users.policy import EVERY_SCOPE, Caller, Scope

READ, WRITE, LINK = Scope.READ, Scope.WRITE, Scope.LINK
ME, ADA, GONE, NOBODY = 1, 2, 3, 99
MISSING = (
    "Missing scope `users:link`. It is required to set or clear an external id, which decides who "
    "can sign in as the user."
)
OWN = (
    "The external id is the `sub` of your own token. A caller cannot link a user to their own "
    "sign-in; another caller with the scope `users:link` can."
)
ERRORS = "errors { __typename code message path }"
BULK = f"""mutation ($input: BulkUsersInput!) {{ bulkUsers(input: $input) {{
  failed {ERRORS} results {{ {ERRORS} }} }} }}"""
KINDS = {"create": "CreateUserInput", "update": "UpdateUserInput", "upsert": "UpsertUserInput"}
EVE = {"username": "eve", "email": "eve@example.com"}
TRANSACTION = {"BEGIN IMMEDIATE"}
Way = tuple[str, dict[str, Any], list[str]]


def link_writes(external_id: str | None) -> Iterator[Way]:
    """Yields each write that sets an external id, with the path of the id in the input."""
    link, place = {"externalId": external_id}, ["externalId"]
    for key in (ADA, NOBODY):
        yield "update", {"id": id_of(key)} | link, place
        yield "update", {"id": id_of(key), "validateOnly": True} | link, place
        yield "upsert", {"by": {"id": id_of(key)}} | link, place
        yield "upsert", {"by": {"databaseId": str(key)}} | link, place
    for by in ({"username": "ada"}, {"email": "ada@example.com"}, {"username": "eve"}):
        yield "upsert", {"by": by} | EVE | link, place
    if external_id is not None:
        yield "create", EVE | link, place
        yield "create", EVE | link | {"validateOnly": True}, place
        yield "upsert", {"by": link} | EVE, ["by", "externalId"]


def single(verb: str) -> str:
    return f"mutation ($input: {KINDS[verb]}!) {{ {verb}User(input: $input) {{ {ERRORS} }} }}"


def error(message: str, *path: str) -> dict[str, Any]:
    violation = {"__typename": "FieldError", "code": "FORBIDDEN", "message": message}
    return violation | {"path": ["input", *path]}


async def errors_of(directory: DirectoryClient, caller: Caller, way: Way) -> list[dict[str, Any]]:
    """Sends a write by itself and in a batch, and asserts equal errors."""
    verb, given, _ = way
    alone = (await directory.ask(caller, single(verb), input=given))["errors"]
    batch = {"operations": [{verb: given}]}
    payload = await directory.ask(caller, BULK, input=batch)
    prefix = ["operations", "0", verb]
    in_batch = [
        violation | {"path": ["input", *prefix, *violation["path"][1:]]} for violation in alone
    ]
    assert payload["results"] == [{"errors": in_batch}]
    return list(alone)


def test_cases_cover_every_input_with_an_external_id() -> None:
    types = CORE.type_map.values()
    inputs = {
        t.name for t in types if isinstance(t, GraphQLInputObjectType) and "externalId" in t.fields
    }
    assert inputs - {"UserBy", "UserFilter"} == set(KINDS.values())


async def test_setting_an_external_id_without_the_scope_is_forbidden(
    directory: DirectoryClient, statements: list[str]
) -> None:
    before = await directory.all_rows()
    statements.clear()
    for scopes in (s for s in SCOPE_SETS if WRITE in s and LINK not in s):
        for way in (*link_writes("hr-1"), *link_writes(None)):
            expected = [error(MISSING, *way[2])]
            assert await errors_of(directory, service(*scopes), way) == expected, way
    assert set(statements) <= TRANSACTION  # errors must not reveal whether a user exists
    assert await directory.all_rows() == before


async def test_setting_an_external_id_with_the_scope_is_allowed(directory: DirectoryClient) -> None:
    caller = service(READ, WRITE, LINK)
    for verb, given, place in link_writes("hr-1"):
        if str(NOBODY) in str(given) or given.get("id") == id_of(NOBODY):
            continue
        payload = await directory.ask(caller, single(verb), input=given)
        other_codes = {violation["code"] for violation in payload["errors"]} - {
            "TAKEN",
            "NOT_FOUND",
        }
        assert other_codes == set(), (verb, given, place)
    query = 'query { userBy(by: { externalId: "hr-1" }) { username } }'
    assert await directory.ask(caller, query) is not None


async def test_linking_a_user_to_the_callers_own_subject_is_forbidden(
    directory: DirectoryClient, statements: list[str]
) -> None:
    before = await directory.all_rows()
    statements.clear()
    for caller in (service(*EVERY_SCOPE), linked(ME, *EVERY_SCOPE), linked(ADA, *EVERY_SCOPE)):
        signed_in = replace(caller, subject="hr-1")
        for way in link_writes("hr-1"):
            assert await errors_of(directory, signed_in, way) == [error(OWN, *way[2])], way
    assert set(statements) <= TRANSACTION
    assert await directory.all_rows() == before


async def test_missing_scope_is_reported_before_the_own_subject(directory: DirectoryClient) -> None:
    signed_in = replace(service(WRITE), subject="hr-1")
    for way in link_writes("hr-1"):
        assert await errors_of(directory, signed_in, way) == [error(MISSING, *way[2])]


async def test_batch_rejects_only_the_operation_that_links(directory: DirectoryClient) -> None:
    operations = [
        {"update": {"id": id_of(ADA), "displayName": "Ada"}},
        {"update": {"id": id_of(ME), "externalId": "hr-1"}},
    ]
    given = {"operations": operations, "mode": "PARTIAL"}
    payload = await directory.ask(service(READ, WRITE), BULK, input=given)
    assert payload == {
        "failed": 1,
        "errors": [],
        "results": [
            {"errors": []},
            {"errors": [error(MISSING, "operations", "1", "update", "externalId")]},
        ],
    }


RESTORE = f"""mutation ($input: UserTransitionInput!) {{ restoreUser(input: $input) {{
  changed user {{ status externalId }} {ERRORS} }} }}"""


@pytest.fixture
async def deleted_with_external_id(client: Client) -> str:
    """The id of a deleted user with an external id."""
    user = await client.create("eve", externalId="hr-1")
    await client.mutate("deleteUser", user["id"])
    return str(user["id"])


async def test_restoring_a_user_with_an_external_id_requires_only_write(
    directory: DirectoryClient, deleted_with_external_id: str
) -> None:
    caller = replace(service(READ, WRITE), subject="other")
    payload = await directory.ask(caller, RESTORE, input={"id": deleted_with_external_id})
    user = {"status": "DEACTIVATED", "externalId": "hr-1"}
    assert payload == {"changed": True, "user": user, "errors": []}


async def test_restoring_a_user_with_the_callers_own_subject_is_forbidden(
    directory: DirectoryClient, deleted_with_external_id: str
) -> None:
    before = await directory.all_rows()
    caller = replace(service(*EVERY_SCOPE), subject="hr-1")
    payload = await directory.ask(caller, RESTORE, input={"id": deleted_with_external_id})
    assert payload == {"changed": False, "user": None, "errors": [error(OWN, "id")]}
    operations = [
        {"restore": {"id": deleted_with_external_id}},
        {"reactivate": {"id": deleted_with_external_id}},
    ]
    payload = await directory.ask(caller, BULK, input={"operations": operations})
    assert payload["results"][0]["errors"] == [error(OWN, "operations", "0", "restore", "id")]
    assert payload["failed"] == 2
    assert await directory.all_rows() == before
