"""VersionConflictError: who changed the user since the expected version, and what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.session import Session
from tests.support.callers import SCOPE_SETS, DirectoryClient, id_of, linked, service
from tests.support.client import Client
from users.commands import CommandsRejected
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
ERASE = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
KINDS = {
    "upsertUser": "UpsertUserInput",
    "reactivateUser": "UserTransitionInput",
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


@pytest.mark.parametrize("verb", [verb for verb in KINDS if verb != "upsertUser"])
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
    given = {"id": user_id, "confirmUsername": "ada", "reason": "Asked"}
    assert await client.ask(ERASE, input=given) == {"errors": []}
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


@pytest.mark.parametrize("others", [False, True])
async def test_version_undone_with_its_batch_has_no_author_and_the_stored_user(
    client: Client, monkeypatch: pytest.MonkeyPatch, *, others: bool
) -> None:
    """Also if another request makes a version of the same number before the conflict is read."""
    user_id = await changed_user(client)
    operations = [
        {"update": {"id": user_id, "expectedVersion": 4, "displayName": name}} for name in "xy"
    ]
    query = BULK.replace("changedAt", "expectedVersion actualVersion changedAt").replace(
        "current {", "current { version displayName"
    )
    if others:
        write_after_rollback(client, user_id, monkeypatch)
    answer = await client.ask(query, input={"operations": operations})
    [error] = answer["results"][1]["errors"]
    assert error["current"].pop("updatedAt") == error.pop("changedAt")
    assert error == {
        "__typename": "VersionConflictError",
        "code": "VERSION_CONFLICT",
        "expectedVersion": 4,
        "actualVersion": 5,
        "changedFields": ["displayName"],
        "current": {"version": 4, "displayName": "D"},
        "changedBy": None,
        "changes": None,
    }
    assert len(await client.events(user_id)) == (5 if others else 4)


def write_after_rollback(client: Client, user_id: str, patch: pytest.MonkeyPatch) -> None:
    """Lets another request write the next version as soon as a transaction was rolled back."""
    transaction = Session.transaction

    @asynccontextmanager
    async def followed(session: Session, **options: Any) -> AsyncIterator[Session]:
        try:
            async with transaction(session, **options) as begun:
                yield begun
        except CommandsRejected:
            patch.undo()
            await client.mutate("updateUser", user_id, displayName="Theirs")
            raise

    patch.setattr(Session, "transaction", followed)


async def test_rejected_batch_names_the_stored_user_of_an_undone_status(client: Client) -> None:
    user_id = await changed_user(client)
    operations = [{"delete": {"id": user_id}}, {"update": {"id": user_id, "displayName": "x"}}]
    query = BULK.replace("changedFields", "code").replace(
        "errors {", "errors { ... on TransitionError { from current { status version } }"
    )
    for mode, status, version in (("ATOMIC", "ACTIVE", 4), ("PARTIAL", "DELETED", 5)):
        answer = await client.ask(query, input={"operations": operations, "mode": mode})
        [error] = answer["results"][1]["errors"]
        assert error == {
            "__typename": "TransitionError",
            "code": "INVALID_TRANSITION",
            "from": "DELETED",
            "current": {"status": status, "version": version},
        }


@pytest.mark.parametrize("by", ["id", "databaseId", "username", "email", "externalId"])
async def test_conflict_of_an_upsert_has_the_changes_and_author(client: Client, by: str) -> None:
    user = await client.create("ada", externalId="hr-1")
    await client.mutate("updateUser", user["id"], displayName="Ada")
    keys = {"id": user["id"], "databaseId": "1", "externalId": "hr-1"}
    keys |= {"username": "ADA", "email": "ADA@example.com"}
    found = await conflict(client, "upsertUser", by={by: keys[by]}, expectedVersion=1)
    assert found["changedFields"] == ["displayName"]
    assert found["changes"] == [change("DISPLAY_NAME", None, "Ada")]
    assert found["changedBy"]["type"] == "SYSTEM"


async def test_conflict_of_a_reactivation_has_the_changes_of_the_status(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deactivateUser", user["id"], reason="Leave")
    found = await conflict(client, "reactivateUser", id=user["id"], expectedVersion=1)
    assert found["changes"] == [
        change("STATUS", "ACTIVE", "DEACTIVATED"),
        change("STATUS_REASON", None, "Leave"),
    ]


async def test_changes_that_were_taken_back_are_none(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deactivateUser", user["id"])
    await client.mutate("reactivateUser", user["id"])
    found = await conflict(client, "updateUser", id=user["id"], expectedVersion=1)
    assert (found["changedFields"], found["changes"]) == (["status"], [])
    assert found["changedBy"] is not None


async def test_conflict_with_a_deleted_user_has_their_deletion(client: Client) -> None:
    user = await client.create("ada")
    await client.mutate("deleteUser", user["id"], eraseAfter="2030-01-01T00:00:00Z")
    found = await conflict(client, "deleteUser", id=user["id"], expectedVersion=1)
    assert found["changes"] == [
        change("STATUS", "ACTIVE", "DELETED"),
        change("ERASE_AFTER", None, "2030-01-01T00:00:00Z"),
    ]


async def test_conflict_keeps_the_author_who_was_erased_without_a_name(
    directory: DirectoryClient,
) -> None:
    admin = service(*Scope)
    rename = {"id": id_of(1), "displayName": "Me"}
    query = ONE % ("UpdateUserInput", "updateUser")
    assert await directory.ask(linked(2), query, input=rename | {"id": id_of(2)}) == {"errors": []}
    assert await directory.ask(linked(2, Scope.WRITE), query, input=rename) == {"errors": []}
    given = {"id": id_of(1), "expectedVersion": 1}
    [error] = (await directory.ask(admin, query, input=given))["errors"]
    author = {"type": "USER", "actorId": "2", "label": "Me", "user": {"id": id_of(2)}}
    assert checked(error)["changedBy"] == author

    gone = {"id": id_of(2), "reason": "Asked"}
    delete = "mutation ($input: DeleteUserInput!) { deleteUser(input: $input) { errors { code } } }"
    assert await directory.ask(admin, delete, input=gone) == {"errors": []}
    confirmed = gone | {"confirmUsername": "ada"}
    assert await directory.ask(admin, ERASE, input=confirmed) == {"errors": []}
    [error] = (await directory.ask(admin, query, input=given))["errors"]
    assert checked(error)["changedBy"] == author | {"label": None}


async def test_replayed_conflict_has_the_author_of_its_version(client: Client) -> None:
    user_id = await changed_user(client)
    bob = (await client.create("bob"))["id"]
    operations = [
        {"update": {"id": bob, "displayName": "Bob"}},
        {"update": {"id": user_id, "displayName": "x", "expectedVersion": 1}},
        {"update": {"id": bob, "displayName": "x", "expectedVersion": 1}},
    ]
    query = BULK.replace("results", "replayed results")
    given = {"operations": operations, "mode": "PARTIAL", "idempotencyKey": "k"}
    first = await client.ask(query, input=given)
    [old, own] = [result["errors"][0] for result in first["results"][1:]]
    assert old["changes"] == [change("DISPLAY_NAME", "Ada", "D")]
    assert own["changes"] == [change("DISPLAY_NAME", None, "Bob")]
    await client.mutate("updateUser", user_id, displayName="E", username="eve")
    assert await client.ask(query, input=given) == first | {"replayed": True}


async def test_replayed_conflict_has_no_data_of_a_user_who_was_erased(client: Client) -> None:
    user_id = await changed_user(client)
    bob = (await client.create("bob"))["id"]
    operations = [
        {"update": {"id": bob, "displayName": "Bob"}},
        {"update": {"id": user_id, "displayName": "x", "expectedVersion": 1}},
    ]
    query = BULK.replace("results", "replayed results").replace(
        "{ updatedAt", "{ username updatedAt"
    )
    given = {"operations": operations, "mode": "PARTIAL", "idempotencyKey": "k"}
    first = await client.ask(query, input=given)
    assert first["results"][1]["errors"][0]["changes"] == [change("DISPLAY_NAME", "Ada", "D")]
    await client.mutate("deleteUser", user_id)
    erase = {"id": user_id, "confirmUsername": "ada", "reason": "Asked"}
    assert await client.ask(ERASE, input=erase) == {"errors": []}
    again = await client.ask(query, input=given)
    [error] = again["results"][1]["errors"]
    assert (again["replayed"], error["current"]["username"]) == (True, "erased-1")
    assert [c for c in error["changes"] if not c["redacted"]] == [
        change("STATUS", "ACTIVE", "DELETED")
    ]
    assert {(c["before"], c["after"]) for c in error["changes"] if c["redacted"]} == {(None, None)}


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


async def test_author_and_changes_are_shown_exactly_to_readers_of_the_history(
    directory: DirectoryClient,
) -> None:
    query = (ONE % ("UpdateUserInput", "updateUser")).replace(
        "{ updatedAt", "{ viewerCan updatedAt"
    )
    given = {"id": id_of(1), "expectedVersion": 0}
    shown = []
    for scopes in SCOPE_SETS:
        for caller in (service(*scopes), linked(1, *scopes), linked(2, *scopes)):
            [error] = (await directory.ask(caller, query, input=given))["errors"]
            if error["__typename"] == "VersionConflictError":
                reads = "VIEW_HISTORY" in error["current"]["viewerCan"]
                assert (error["changedBy"] is not None, error["changes"] is not None) == (
                    reads,
                    reads,
                )
                shown.append(reads)
    # Of 32 sets of scopes: the user's own 32, and 8 with reading and writing of each other caller.
    assert (shown.count(True), shown.count(False)) == (16 + 4 + 4, 16 + 4 + 4)
