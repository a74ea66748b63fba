"""Permissions: own user, batches, idempotency keys, and the end of a permission."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from graph.protocol.errors import RequestError
from tests.support.callers import SCOPE_SETS, DirectoryClient, id_of, linked, service
from tests.support.client import Client
from tests.support.cursors import cursor_at
from users.commands import Transition
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller, Scope
from users.service import UserService

READ, WRITE, ERASE, HISTORY = Scope.READ, Scope.WRITE, Scope.ERASE, Scope.HISTORY
LINK = Scope.LINK
ME, ADA, GONE, NOBODY = 1, 2, 3, 99
ADMIN = service(*EVERY_SCOPE)
ERRORS = "errors { __typename code message path }"
UPDATE = f"""mutation ($input: UpdateUserInput!) {{ updateUser(input: $input) {{
  user {{ username displayName externalId }} changed {ERRORS} }} }}"""
CREATE = f"""mutation ($input: CreateUserInput!) {{ createUser(input: $input) {{
  user {{ username }} replayed {ERRORS} }} }}"""
DELETE = f"""mutation ($input: DeleteUserInput!) {{ deleteUser(input: $input) {{
  deletedUserId user {{ id }} changed {ERRORS} }} }}"""
BULK = f"""mutation ($input: BulkUsersInput!) {{ bulkUsers(input: $input) {{
  succeeded failed replayed {ERRORS}
  results {{ index changed user {{ username }} {ERRORS} }} }} }}"""
NAMES = """query ($search: String, $after: String) { users(search: $search, after: $after,
  filter: { not: { status: [] } }, orderBy: [{ field: USERNAME }]) {
  totalCount countAtMost statusCounts { count } nodes { username } edges { cursor } } }"""


def forbidden_error(*path: str, message: str = "Missing scope `users:write`.") -> dict[str, Any]:
    return {
        "__typename": "GenericError",
        "code": "FORBIDDEN",
        "message": message,
        "path": ["input", *path],
    }


def codes(errors: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(error["code"], error["path"]) for error in errors]


async def test_users_can_change_their_own_fields_except_the_external_id(
    directory: DirectoryClient,
) -> None:
    mine = {"id": id_of(ME), "username": "mia2", "email": "m@example.com", "displayName": "Mia"}
    payload = await directory.ask(linked(ME), UPDATE, input=mine)
    user = {"username": "mia2", "displayName": "Mia", "externalId": None}
    assert payload == {"user": user, "changed": True, "errors": []}
    before = await directory.all_rows()
    for link in ("sub-1", None):
        given = {"id": id_of(ME), "externalId": link, "username": "other"}
        payload = await directory.ask(linked(ME), UPDATE, input=given)
        assert codes(payload["errors"]) == [("FORBIDDEN", ["input", "externalId"])]
        assert (payload["user"], payload["changed"]) == (None, False)
    assert await directory.all_rows() == before
    given = {"id": id_of(ME), "externalId": "sub-1"}
    payload = await directory.ask(linked(ME, LINK), UPDATE, input=given)
    assert payload["user"]["externalId"] == "sub-1"


async def test_erase_after_requires_the_write_and_erase_scopes(directory: DirectoryClient) -> None:
    before = await directory.all_rows()
    for key in (ADA, NOBODY):
        given = {"id": id_of(key), "eraseAfter": "2030-01-01T00:00:00Z"}
        payload = await directory.ask(service(READ, WRITE), DELETE, input=given)
        assert codes(payload["errors"]) == [("FORBIDDEN", ["input", "eraseAfter"])]
        payload = await directory.ask(service(READ, ERASE), DELETE, input=given)
        assert codes(payload["errors"]) == [("FORBIDDEN", ["input"])]
    assert await directory.all_rows() == before


async def test_writer_without_read_scope_gets_no_users_in_payloads(
    directory: DirectoryClient,
) -> None:
    writer = service(WRITE)
    given = {"id": id_of(ADA)}
    payload = await directory.ask(writer, UPDATE, input=given | {"displayName": "Ada"})
    assert payload == {"user": None, "changed": True, "errors": []}
    query = UPDATE.replace("path }", "path ... on VersionConflictError { current { email } } }")
    payload = await directory.ask(writer, query, input=given | {"expectedVersion": 1})
    assert [(e["__typename"], e["code"]) for e in payload["errors"]] == [
        ("GenericError", "VERSION_CONFLICT")
    ]
    payload = await directory.ask(writer, UPDATE, input={"id": id_of(GONE), "displayName": "x"})
    assert [(e["__typename"], e["code"]) for e in payload["errors"]] == [
        ("GenericError", "INVALID_TRANSITION")
    ]
    payload = await directory.ask(writer, DELETE, input=given)
    assert payload == {"deletedUserId": id_of(ADA), "user": None, "changed": True, "errors": []}
    new = {"username": "eve", "email": "eve@example.com"}
    payload = await directory.ask(writer, CREATE, input=new)
    assert payload == {"user": {"username": "eve"}, "replayed": False, "errors": []}


async def test_list_contains_only_users_the_caller_can_read(directory: DirectoryClient) -> None:
    everybody = await directory.ask(ADMIN, NAMES)
    assert [user["username"] for user in everybody["nodes"]] == ["ada", "gone", "mia"]
    me = linked(ME, WRITE, ERASE, HISTORY)
    own = {"totalCount": 1, "countAtMost": 1, "nodes": [{"username": "mia"}]}
    none: dict[str, Any] = {"totalCount": 0, "countAtMost": 0, "nodes": []}
    for caller, search, expected in (
        (me, None, own),
        (me, "m", own),
        (me, "ada", none),
        (me, "gon", none),
        (service(WRITE, ERASE, HISTORY), None, none),
    ):
        found = await directory.ask(caller, NAMES, search=search)
        counts = [one["count"] for one in found.pop("statusCounts")]
        found.pop("edges")
        assert counts == [expected["totalCount"], 0, 0]
        assert found == expected
    for edge, names in zip(everybody["edges"], (["mia"], ["mia"], []), strict=True):
        found = await directory.ask(me, NAMES, after=edge["cursor"])
        assert [user["username"] for user in found["nodes"]] == names
        assert found["totalCount"] == 1


async def test_batch_checks_permissions_per_operation(directory: DirectoryClient) -> None:
    before = await directory.all_rows()
    operations = [
        {"update": {"id": id_of(ME), "displayName": "Mia"}},
        {"update": {"id": id_of(ADA), "displayName": "Ada"}},
        {"delete": {"id": id_of(NOBODY)}},
    ]
    given = {"operations": operations, "idempotencyKey": "k"}
    payload = await directory.ask(linked(ME), BULK, input=given)
    assert codes(payload["errors"]) == [("BATCH_ABORTED", ["input", "operations"])]
    assert [codes(result["errors"]) for result in payload["results"]] == [
        [("BATCH_ABORTED", ["input", "operations", "0"])],
        [("FORBIDDEN", ["input", "operations", "1", "update"])],
        [("FORBIDDEN", ["input", "operations", "2", "delete"])],
    ]
    assert (payload["succeeded"], payload["failed"]) == (0, 3)
    assert await directory.all_rows() == before
    for replayed in (False, True):
        payload = await directory.ask(linked(ME), BULK, input=given | {"mode": "PARTIAL"})
        assert (payload["succeeded"], payload["failed"]) == (1, 2)
        assert (payload["replayed"], payload["errors"]) == (replayed, [])
        assert payload["results"][0]["user"] == {"username": "mia"}
        assert payload["results"][1]["errors"] == [forbidden_error("operations", "1", "update")]
        assert payload["results"][2]["errors"] == [forbidden_error("operations", "2", "delete")]


async def test_replay_requires_the_callers_current_permissions(directory: DirectoryClient) -> None:
    given = {"username": "eve", "email": "eve@example.com", "idempotencyKey": "k"}
    done = {"user": {"username": "eve"}, "errors": []}
    assert await directory.ask(service(WRITE), CREATE, input=given) == done | {"replayed": False}
    before = await directory.all_rows()
    payload = await directory.ask(service(READ), CREATE, input=given)
    assert payload == {"user": None, "replayed": False, "errors": [forbidden_error()]}
    assert await directory.ask(service(WRITE), CREATE, input=given) == done | {"replayed": True}
    batch = {
        "operations": [
            {"update": {"id": id_of(ME), "displayName": "Mia"}},
            {"update": {"id": id_of(ADA), "displayName": "Ada"}},
        ],
        "mode": "PARTIAL",
        "idempotencyKey": "batch",
    }
    assert await directory.all_rows() == before
    assert (await directory.ask(linked(ME, READ, WRITE), BULK, input=batch))["succeeded"] == 2
    before = await directory.all_rows()
    payload = await directory.ask(linked(ME), BULK, input=batch)
    assert (payload["replayed"], payload["succeeded"], payload["failed"]) == (True, 1, 1)
    assert payload["results"][1]["user"] is None
    assert payload["results"][1]["errors"] == [forbidden_error("operations", "1", "update")]
    assert await directory.all_rows() == before


@pytest.mark.parametrize("end", ["deactivateUser", "deleteUser"])
async def test_inactive_user_cannot_write(
    directory: DirectoryClient, client: Client, end: str
) -> None:
    me = linked(ME, *EVERY_SCOPE)
    new = {"username": "eve", "email": "eve@example.com", "idempotencyKey": "k"}
    assert (await directory.ask(me, CREATE, input=new))["errors"] == []
    await client.mutate(end, id_of(ME))
    before = await directory.all_rows()
    gone = forbidden_error(message="Your user is no longer active.")
    payload = await directory.ask(me, CREATE, input=new)
    assert payload == {"user": None, "replayed": False, "errors": [gone]}
    payload = await directory.ask(me, CREATE, input=new | {"idempotencyKey": "other"})
    assert payload["errors"] == [gone]
    for key in (ME, ADA, GONE, NOBODY):
        payload = await directory.ask(me, UPDATE, input={"id": id_of(key), "displayName": "x"})
        assert payload == {"user": None, "changed": False, "errors": [gone]}
    operations = [{"delete": {"id": id_of(ADA)}}, {"delete": {"id": id_of(NOBODY)}}]
    payload = await directory.ask(me, BULK, input={"operations": operations, "mode": "PARTIAL"})
    assert [codes(result["errors"]) for result in payload["results"]] == [
        [("FORBIDDEN", ["input", "operations", str(n), "delete"])] for n in (0, 1)
    ]
    assert await directory.all_rows() == before


@pytest.mark.parametrize("query", [CREATE, UPDATE])
async def test_write_waits_for_a_concurrent_deactivation_of_its_caller(
    directory: DirectoryClient, query: str
) -> None:
    """Permissions are checked after the lock is acquired, so an earlier deactivation counts."""
    given: dict[str, Any] = {"id": id_of(ADA), "displayName": "x"}
    if query == CREATE:
        given = {"username": "eve", "email": "eve@example.com"}
    ending = Transition(action=UserAction.DEACTIVATE, user_id=ME)
    database = directory.database
    async with database.session() as session, session.transaction():
        await UserService(session, ADMIN).execute([ending])
        writing = directory.ask(linked(ME, *EVERY_SCOPE), query, input=given)
        write = asyncio.create_task(writing)
        await asyncio.wait({write}, timeout=0.3)
        assert not write.done()
    assert codes((await write)["errors"]) == [("FORBIDDEN", ["input"])]
    events = (await directory.all_rows())[1]
    assert len(events) == 5  # three created, one deleted, one deactivated
    assert all(event.actor_id != str(ME) for event in events)


async def test_users_who_update_each_other_concurrently_do_not_deadlock(
    directory: DirectoryClient,
) -> None:
    rounds = [
        directory.ask(
            linked(who, WRITE, READ), UPDATE, input={"id": id_of(whom), "displayName": f"{n}"}
        )
        for n in range(20)
        for who, whom in ((ME, ADA), (ADA, ME), (ME, ME))
    ]
    payloads = await asyncio.gather(*rounds)
    assert all(payload["errors"] == [] for payload in payloads)


async def test_is_viewer_and_viewer_can_match_the_callers_permissions(
    directory: DirectoryClient,
) -> None:
    query = "{ viewer { username isViewer viewerCan } }"
    me = {"username": "mia", "isViewer": True}
    assert await directory.ask(linked(ME), query) == me | {"viewerCan": ["UPDATE"]}
    assert await directory.ask(linked(ME, *EVERY_SCOPE), query) == me | {
        "viewerCan": ["UPDATE", "DEACTIVATE", "DELETE", "VIEW_HISTORY"]
    }
    assert await directory.ask(ADMIN, query) is None
    query = """{ users(filter: { status: [ACTIVE, DELETED] }, orderBy: [{ field: USERNAME }]) {
      nodes { isViewer viewerCan } } }"""
    found = await directory.ask(linked(ME, READ, WRITE, ERASE), query)
    assert found["nodes"] == [
        {"isViewer": False, "viewerCan": ["UPDATE", "DEACTIVATE", "DELETE"]},
        {"isViewer": False, "viewerCan": ["RESTORE", "ERASE"]},
        {"isViewer": True, "viewerCan": ["UPDATE", "DEACTIVATE", "DELETE"]},
    ]


async def test_viewer_scopes_are_those_of_the_caller_in_the_order_of_the_enum(
    directory: DirectoryClient,
) -> None:
    for scopes in SCOPE_SETS:
        expected = {"data": {"viewerScopes": [scope.name for scope in Scope if scope in scopes]}}
        for caller in (service(*scopes), linked(ME, *scopes)):
            assert await directory.send(caller, "{ viewerScopes }") == expected


async def test_viewer_scopes_of_a_request_without_a_token_are_all_in_development(
    client: Client,
) -> None:
    answer = await client.ask("{ viewerScopes viewer { id } }")
    assert answer == {"viewerScopes": [scope.name for scope in Scope], "viewer": None}


async def test_viewer_can_in_a_list_adds_no_statement(
    directory: DirectoryClient, statements: list[str]
) -> None:
    for fields in ("id", "id isViewer viewerCan"):
        statements.clear()
        await directory.ask(linked(ME, READ), f"{{ users {{ nodes {{ {fields} }} }} }}")
        assert len([ran for ran in statements if ran.startswith("SELECT")]) == 1


FOLLOW = "subscription ($after: String) { userEvents(after: $after) { user { viewerCan } } }"


async def first(directory: DirectoryClient, caller: Caller) -> Any:
    results = directory.follow(caller, FOLLOW, after=await cursor_at(directory.database, 1))
    async with aclosing(results):
        return orjson.loads((await anext(results)).texts[0])["data"]["userEvents"]["user"]


async def test_viewer_can_of_a_subscription_is_not_shared_between_callers(
    directory: DirectoryClient,
) -> None:
    for caller, can in (
        (service(READ, HISTORY), ["VIEW_HISTORY"]),
        (service(READ, HISTORY, WRITE), ["UPDATE", "DEACTIVATE", "DELETE", "VIEW_HISTORY"]),
        (replace(service(READ, HISTORY), user_id=ADA), ["UPDATE", "VIEW_HISTORY"]),
        (service(READ, HISTORY), ["VIEW_HISTORY"]),
    ):
        assert await first(directory, caller) == {"viewerCan": can}


@pytest.mark.parametrize("end", ["time", "deactivateUser"])
async def test_subscription_ends_when_its_callers_permission_ends(
    directory: DirectoryClient, client: Client, end: str
) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=-1)
    caller = linked(ME, READ, HISTORY)
    assert await first(directory, caller) == {"viewerCan": ["VIEW_HISTORY"]}
    if end == "time":
        caller = replace(caller, expires_at=expires)
        with pytest.raises(RequestError) as rejected:
            await first(directory, caller)
    else:
        results = directory.follow(caller, FOLLOW, after=await cursor_at(directory.database, 1))
        async with aclosing(results):
            await anext(results)
            await client.mutate(end, id_of(ME))
            directory.feed.wake()
            with pytest.raises(RequestError) as rejected:
                async for _ in results:
                    pass
    assert [error["extensions"] for error in rejected.value.errors] == [{"code": "UNAUTHENTICATED"}]


async def test_hidden_and_unknown_users_run_the_same_statements(directory: DirectoryClient) -> None:
    """Loading hidden users and then dropping them would reveal them by the response time."""
    query = "query ($by: UserBy!) { userBy(by: $by) { username } }"
    engine = directory.database.engine.sync_engine
    executed: list[tuple[str, str]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        executed.append((statement, str(parameters)))

    ada = {"username": "ada", "email": "ada@example.com", "databaseId": ADA, "id": id_of(ADA)}
    nobody = {
        "username": "eve",
        "email": "eve@example.com",
        "databaseId": NOBODY,
        "id": id_of(NOBODY),
    }
    for caller in (service(WRITE), linked(ME), linked(ME, HISTORY)):
        statement_runs = set()
        for key, value in [*ada.items(), *nobody.items(), ("externalId", "hr-1")]:
            executed.clear()
            assert await directory.ask(caller, query, by={key: value}) is None
            statement_runs.add(tuple(executed))
        assert len(statement_runs) == 1  # the same for existing and unknown users
    mine = await directory.ask(linked(ME, READ), "{ viewer { username email id databaseId } }")
    for key, value in mine.items():
        found = await directory.ask(linked(ME), query, by={key: value})
        assert found == {"username": mine["username"]}, key
    upper = {"username": mine["username"].upper()}
    assert await directory.ask(linked(ME), query, by=upper) == {"username": mine["username"]}
    event.remove(engine, "before_cursor_execute", record)
