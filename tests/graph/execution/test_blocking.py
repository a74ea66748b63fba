"""No request blocks the others: work is bounded, done once, and pauses.

The tests do not measure time. They count expensive computations, and the pauses in which
other requests run.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import strawberry
from graphql import ExecutionResult, located_error
from sqlalchemy import select
from structlog.testing import capture_logs

from db import time_slices
from db.models import UserEvent
from db.statements.events import fields_changed_since
from db.statements.users import USERS_BY_ID
from graph.api import data_export
from graph.api.context import Context
from graph.api.errors import InputError
from graph.api.idempotency import key_of_request
from graph.api.inputs.bulk import BulkUsersInput, UserOperation
from graph.api.inputs.mutations import CreateUserInput, UpdateUserInput
from graph.api.types.enums import BulkMode
from graph.auth.guard import DEVELOPER
from graph.execution.errors import formatted
from graph.http.negotiation import JSON
from graph.http.responses import result_response
from graph.protocol.json import dumps, dumps_in_parts
from tests.support.callers import DirectoryClient, linked, service
from tests.support.client import Client
from users.email_address import Email
from users.identity import Username
from users.policy import Scope

SLOW_EMAILS = [f"{n}@" + ".".join(["ü"] * 20) for n in range(100)]
ERROR = {
    "message": "An operation can have at most 6000 values, those of a variable wherever it is "
    "used.",
    "extensions": {"code": "TOO_MANY_VALUES", "limit": 6_000},
}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of times that each username and address was parsed."""
    texts: Counter[str] = Counter()

    def counted(parse: Callable[[str], Any]) -> Callable[[str], Any]:
        def parse_and_count(text: str) -> Any:
            texts[text] += 1
            return parse(text)

        return parse_and_count

    for kind in (Email, Username):
        monkeypatch.setattr(kind, "parse", counted(kind.parse))
    return texts


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of pauses per caller if a pause is due at every opportunity."""
    counted: Counter[str] = Counter()

    async def count(_: time_slices.TimeSlices) -> None:
        operation = time_slices.current_operation.get()
        counted[operation.throttled_as if operation else ""] += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(time_slices.TimeSlices, "is_due", lambda _: True)
    monkeypatch.setattr(time_slices.TimeSlices, "pause", count)
    return counted


def query_with_uses(number: int, fields: int = 1) -> str:
    filters = ", ".join(["{email: $emails}"] * (number // fields))
    users = (f"u{n}: users(filter: {{or: [{filters}]}}) {{ totalCount }}" for n in range(fields))
    return f"query ($emails: StringFilter) {{ {' '.join(users)} }}"


async def test_key_is_computed_once_per_operation(
    client: Client, computed: Counter[str], pauses: Counter[str]
) -> None:
    answer = await client.send(query_with_uses(20, fields=2), emails={"in": SLOW_EMAILS})
    assert answer == {"data": {"u0": {"totalCount": 0}, "u1": {"totalCount": 0}}}
    assert computed == dict.fromkeys(SLOW_EMAILS, 1)
    assert pauses.total() >= len(SLOW_EMAILS)


async def test_values_of_a_variable_count_at_each_use(
    client: Client, computed: Counter[str]
) -> None:
    assert set(await client.send(query_with_uses(50), emails={"in": SLOW_EMAILS})) == {"data"}
    assert await client.send(query_with_uses(120, fields=10), emails={"in": SLOW_EMAILS}) == {
        "errors": [ERROR]
    }
    spread = "query ($emails: StringFilter) { ...A ...A } " + "".join(
        f"fragment {name} on Query {{ ...{inner} ...{inner} ...{inner} ...{inner} }} "
        for name, inner in ("AB", "BC", "CD")
    )
    spread += "fragment D on Query { users(filter: {email: $emails}) { totalCount } }"
    assert await client.send(spread, emails={"in": SLOW_EMAILS}) == {"errors": [ERROR]}
    default = ", ".join(['"x"'] * 100)
    query = query_with_uses(120, fields=10).replace(
        "StringFilter", f"StringFilter = {{in: [{default}]}}", 1
    )
    assert await client.send(query) == {"errors": [ERROR]}
    assert set(await client.send(query, emails={"in": SLOW_EMAILS[:1]})) == {"data"}
    assert set(computed) == set(SLOW_EMAILS)
    assert computed.total() == 101  # keys of a rejected operation are not computed


@pytest.mark.parametrize("key", ["email", "username"])
async def test_no_keys_are_computed_for_a_caller_without_read_permission(
    directory: DirectoryClient, computed: Counter[str], key: str
) -> None:
    reads_nobody = service(Scope.WRITE)
    query = f"""query ($text: String!, $filter: StringFilter, $search: String) {{
      userBy(by: {{{key}: $text}}) {{ id }}
      users(filter: {{{key}: $filter}}, search: $search) {{ totalCount nodes {{ id }} }} }}"""
    given: dict[str, Any] = {"text": SLOW_EMAILS[0], "filter": {"in": SLOW_EMAILS, "contains": "ü"}}
    given["search"] = "ü"
    assert await directory.ask_all(reads_nobody, query, **given) == {
        "userBy": None,
        "users": {"totalCount": 0, "nodes": []},
    }
    assert not computed
    wrong = given | {"filter": {"in": ["x" * 301]}}
    answer = await directory.send(reads_nobody, query, **wrong)
    assert answer["errors"] == [("INVALID_ARGUMENT", ["users"])]
    await directory.ask_all(linked(1), query, **given)  # this caller can read Mia
    assert set(computed) - {"mia", "mia@example.com"} == set(SLOW_EMAILS)


BULK = """mutation ($input: BulkUsersInput!) {
  bulkUsers(input: $input) { succeeded replayed errors { code }
    results { user { username version } errors { code } } } }"""
KEEP = """mutation ($input: UpdateUserInput!) { updateUser(input: $input) {
  errors { code ... on VersionConflictError { changedFields } } } }"""


def upserts(number: int) -> list[dict[str, Any]]:
    return [
        {
            "upsert": {
                "by": {"email": SLOW_EMAILS[n]},
                "username": f"usér{n}",
                "email": SLOW_EMAILS[n],
            }
        }
        for n in range(number)
    ]


async def test_batch_parses_each_text_once_and_pauses(
    client: Client, computed: Counter[str], pauses: Counter[str]
) -> None:
    answer = await client.ask(BULK, input={"operations": upserts(50)})
    assert (answer["succeeded"], answer["errors"]) == (50, [])
    assert computed == dict.fromkeys([*SLOW_EMAILS[:50], *(f"usér{n}" for n in range(50))], 1)
    assert pauses.total() >= 100  # for parsing, and for planning


async def test_forbidden_batch_parses_nothing(
    directory: DirectoryClient, computed: Counter[str]
) -> None:
    reader = service(Scope.READ)
    answer = await directory.ask(reader, BULK, input={"operations": upserts(50)})
    assert answer["results"] == [{"user": None, "errors": [{"code": "FORBIDDEN"}]}] * 50
    assert not computed


async def test_idempotency_fingerprint_equals_that_of_the_json_encoder() -> None:
    create = CreateUserInput(username="a", email="ü", display_name=None, external_id='"\\')
    update = UpdateUserInput(
        id=strawberry.ID("x"),
        username=None,
        email=strawberry.Some(None),
        display_name=strawberry.Some("\ud800"),
        external_id=None,
    )
    bulk = BulkUsersInput(operations=[UserOperation(create=create), UserOperation(update=update)])
    empty = BulkUsersInput(operations=[], mode=BulkMode.PARTIAL, idempotency_key="k")
    given: Any
    for verb, given in (("createUser", create), ("bulkUsers", bulk), ("bulkUsers", empty)):
        key = await key_of_request(verb, given, "k")
        assert key
        plain = asdict(given)
        for operation in plain.get("operations", ()):
            # Inputs of earlier releases had no key, and their stored texts stay valid.
            if operation["update"] != strawberry.UNSET:
                del operation["update"]["idempotency_key"]
        assert key.request == json.dumps([verb, plain], sort_keys=True, default=repr)


async def test_changed_fields_of_many_versions_are_one_row_per_field(
    client: Client, statements: list[str]
) -> None:
    user = await client.create("ada")
    for n in range(30):
        await client.mutate("updateUser", user["id"], displayName=f"Ada {n}")
    await client.mutate("updateUser", user["id"], externalId="1")
    stale = {"id": user["id"], "expectedVersion": 2, "displayName": "x"}
    conflict = {"code": "VERSION_CONFLICT", "changedFields": ["displayName", "externalId"]}
    assert await client.ask(KEEP, input=stale) == {"errors": [conflict]}
    async with client.database.session() as session:
        found = await session.execute(fields_changed_since([1], 2))
        rows = sorted(tuple(row) for row in found)
    assert rows == [(1, "displayName", 31), (1, "externalId", 32)]
    assert not [s for s in statements if "user_events.changes" in s and "GROUP BY" not in s]


ERASE = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"


async def pauses_of_replay_and_erasure(
    client: Client, pauses: Counter[str], name: str, *, updates: int
) -> tuple[int, int]:
    """Replays a change of a user with so many earlier updates, and then erases the user."""
    user = await client.create(name)
    for start in range(0, updates, 100):
        numbers = range(start, min(start + 100, updates))
        earlier = [{"update": {"id": user["id"], "displayName": f"Ada {n}"}} for n in numbers]
        assert (await client.ask(BULK, input={"operations": earlier}))["succeeded"] == len(earlier)
    change = {"operations": [{"update": {"id": user["id"], "username": f"{name}-2"}}]}
    first = await client.ask(BULK, input=change | {"idempotencyKey": name})
    await client.mutate("updateUser", user["id"], username=f"{name}-3")
    before = pauses.total()
    again = await client.ask(BULK, input=change | {"idempotencyKey": name})
    of_replay = pauses.total() - before
    assert again == first | {"replayed": True}
    assert again["results"][0]["user"] == {"username": f"{name}-2", "version": updates + 2}
    await client.mutate("deleteUser", user["id"])
    before = pauses.total()
    given = {"id": user["id"], "confirmUsername": f"{name}-3", "reason": "asked for"}
    assert await client.ask(ERASE, input=given) == {"errors": []}
    return of_replay, pauses.total() - before


async def test_replay_and_erasure_pause_at_every_hundred_events_of_a_history(
    client: Client, pauses: Counter[str]
) -> None:
    short = await pauses_of_replay_and_erasure(client, pauses, "ada", updates=0)
    long = await pauses_of_replay_and_erasure(client, pauses, "eva", updates=400)
    assert [more - few for more, few in zip(long, short, strict=True)] == [4, 4]
    async with client.database.session() as session:
        events = (await session.scalars(select(UserEvent.changes))).all()
    assert len(events) == 5 + 405
    assert {change["after"] for event in events for change in event} <= {None, "ACTIVE", "DELETED"}


HISTORIES = """query ($users: Int, $events: Int) { users(first: $users) { nodes {
  username viewerCan history(first: $events) { nodes {
    id cursor type at reason userId requestId versionAfter actor { kind id label }
    changes { field before after redacted } user { username } } } } } }"""


@pytest.fixture
async def histories(client: Client) -> httpx.Response:
    """The small response to `HISTORIES`, for 20 users with two events each."""
    for n in range(20):
        user = await client.create(f"user{n}", displayName="Ä 😀 \"'\\")
        await client.mutate("deactivateUser", user["id"])
    await client.ask(HISTORIES, users=20, events=2)
    return await client.http.post("/graphql", json=body(HISTORIES, users=20, events=2))


async def test_small_response_is_written_without_pauses(
    client: Client, histories: httpx.Response, pauses: Counter[str]
) -> None:
    assert len(histories.json()["data"]["users"]["nodes"]) == 20
    again = await client.http.post("/graphql", json=body(HISTORIES, users=20, events=2))
    assert again.content == histories.content
    assert pauses.total() == 0


async def test_large_response_is_written_with_pauses_and_unchanged(
    client: Client, histories: httpx.Response, pauses: Counter[str]
) -> None:
    large = await client.http.post("/graphql", json=body(HISTORIES, users=100, events=5))
    assert large.content == histories.content
    assert large.headers["content-length"] == str(len(large.content))
    assert large.headers["content-type"] == "application/json; charset=utf-8"
    assert large.headers["x-request-id"]
    assert pauses.total() >= 40


@pytest.mark.parametrize("part_size", [64 * 1024, 100])
async def test_response_in_parts_is_sent_with_a_pause_before_each_and_unchanged(
    histories: httpx.Response, pauses: Counter[str], part_size: int
) -> None:
    parts = await dumps_in_parts(histories.json(), part_size)
    assert max(map(len, parts)) < part_size + 100
    written = pauses.total()
    response = result_response(parts, JSON, {"x-request-id": "test"}, max_whole=1_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(response)) as http:
        sent = await http.get("http://test/")
    assert sent.content == histories.content
    assert sent.headers["content-length"] == str(len(sent.content))
    assert sent.headers["content-type"] == "application/json; charset=utf-8"
    assert sent.headers["x-request-id"] == "test"
    assert written >= len(parts) - 1
    assert pauses.total() - written == len(parts)


def body(query: str, **variables: Any) -> dict[str, Any]:
    return {"query": query, "variables": variables}


async def test_response_value_limit_is_checked_before_execution(client: Client) -> None:
    changes = " ".join(f"c{n}: changes {{ field before after }}" for n in range(20))
    query = (
        f"{{ users(first: 100) {{ nodes {{ history(first: 40) {{ nodes {{ {changes} }} }} }} }} }}"
    )
    message = (
        "The answer could have 2004201 values; it can have 300000. Ask for smaller pages or fewer "
        "fields."
    )
    limit_error = {"code": "TOO_EXPENSIVE", "limit": 300_000}
    assert await client.send(query) == {"errors": [{"message": message, "extensions": limit_error}]}
    assert set(await client.send(query.replace("40", "5"))) == {"data"}


async def test_only_the_first_errors_are_reported_and_logged(client: Client) -> None:
    forbidden = [InputError(f"wrong {n}") for n in range(100)]
    ours = [located_error(RuntimeError(f"fault {n}"), path=[n]) for n in range(100)]
    context = Context(client.database.session(), client.app.state.feed, DEVELOPER, "test")
    with capture_logs() as logged:
        written = formatted(ExecutionResult(None, [*forbidden, *ours]), context)
    errors = json.loads(written)["errors"]
    assert [error["message"] for error in errors] == [f"wrong {n}" for n in range(5)]
    assert [line["event"] for line in logged[:-1]] == ["operation crashed"] * 5
    assert logged[-1]["event"] == "operation has more errors"
    assert logged[-1]["count"] == 95


async def test_nodes_are_looked_up_in_one_statement_per_type(
    client: Client, statements: list[str]
) -> None:
    users = [(await client.create(f"user{n}"))["id"] for n in range(5)]
    events = [
        (await client.ask("query ($id: ID!) { user(id: $id) { history { nodes { id } } } }", id=u))[
            "history"
        ]["nodes"][0]["id"]
        for u in users
    ]
    ids = [*users, "x", *events, *users, "VXNlcjo5OQ", "VGhpbmc6MQ"]
    statements.clear()
    answer = await client.send("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    nodes = [None if id_ in {"x", "VXNlcjo5OQ", "VGhpbmc6MQ"} else {"id": id_} for id_ in ids]
    assert answer["data"] == {"nodes": nodes}
    errors = [(e["extensions"]["code"], e["path"]) for e in answer["errors"]]
    assert errors == [("INVALID_ID", ["nodes", 5]), ("INVALID_ID", ["nodes", 17])]
    assert len([s for s in statements if "key" in s]) == 2


async def test_personal_data_is_read_in_pages_with_pauses(
    client: Client, pauses: Counter[str], statements: list[str]
) -> None:
    user = await client.create("ada")
    for n in range(10):
        await client.mutate("updateUser", user["id"], displayName=f"Ada {n}")
    whole = await client.ask("query ($id: ID!) { personalData(userId: $id) }", id=user["id"])
    session = client.database.session()
    [row] = await session.fetch(USERS_BY_ID, keys=[1])
    context = Context(session, client.app.state.feed, DEVELOPER, "test")
    before = pauses.total()
    statements.clear()
    in_pages = await data_export.document(context, row, page_size=3)
    assert json.loads(dumps(in_pages)) == whole
    assert [event["versionAfter"] for event in whole["history"]] == list(range(1, 12))
    assert pauses.total() - before >= 11
    assert len([text for text in statements if "LIMIT" in text]) >= 5
