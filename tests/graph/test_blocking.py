"""No request keeps the others waiting: work is bounded, done once, and pauses.

Nothing here is measured in seconds. What is dear is counted: computations, and the pauses in which
other requests run. `benchmarks/blocking.py` measures a real server.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import strawberry

from db import time_slices
from db.statements import fields_changed_since
from graph.inputs.bulk import BulkUsersInput, UserOperation
from graph.inputs.mutations import CreateUserInput, UpdateUserInput
from graph.transaction import key_of_request
from graph.types.enums import BulkMode
from tests.callers import Asking, linked, service
from tests.client import Client
from users.identity import Email, Username
from users.policy import Scope

HARD = [f"{n}@" + ".".join(["ü"] * 20) for n in range(100)]
ERROR = {
    "message": "An operation can have at most 6000 values, those of a variable wherever it is "
    "used.",
    "extensions": {"code": "TOO_MANY_VALUES", "limit": 6_000},
}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The usernames and addresses that were parsed, each text with how often it was."""
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
    """How often a computation of each caller would have paused, had it always been due."""
    counted: Counter[str] = Counter()

    async def count(_: time_slices.TimeSlices) -> None:
        counted[time_slices.current_caller.get()] += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(time_slices.TimeSlices, "is_due", lambda _: True)
    monkeypatch.setattr(time_slices.TimeSlices, "pause", count)
    return counted


def uses(number: int, fields: int = 1) -> str:
    filters = ", ".join(["{email: $emails}"] * (number // fields))
    users = (f"u{n}: users(filter: {{or: [{filters}]}}) {{ totalCount }}" for n in range(fields))
    return f"query ($emails: StringFilter) {{ {' '.join(users)} }}"


async def test_a_key_is_computed_once_however_often_its_variable_is_used(
    client: Client, computed: Counter[str], pauses: Counter[str]
) -> None:
    answer = await client.send(uses(20, fields=2), emails={"in": HARD})
    assert answer == {"data": {"u0": {"totalCount": 0}, "u1": {"totalCount": 0}}}
    assert computed == dict.fromkeys(HARD, 1)
    assert pauses.total() >= len(HARD)


async def test_values_count_where_they_are_used(client: Client, computed: Counter[str]) -> None:
    assert set(await client.send(uses(50), emails={"in": HARD})) == {"data"}
    assert await client.send(uses(120, fields=10), emails={"in": HARD}) == {"errors": [ERROR]}
    spread = "query ($emails: StringFilter) { ...A ...A } " + "".join(
        f"fragment {name} on Query {{ ...{inner} ...{inner} ...{inner} ...{inner} }} "
        for name, inner in ("AB", "BC", "CD")
    )
    spread += "fragment D on Query { users(filter: {email: $emails}) { totalCount } }"
    assert await client.send(spread, emails={"in": HARD}) == {"errors": [ERROR]}
    default = ", ".join(['"x"'] * 100)
    query = uses(120, fields=10).replace("StringFilter", f"StringFilter = {{in: [{default}]}}", 1)
    assert await client.send(query) == {"errors": [ERROR]}
    assert set(await client.send(query, emails={"in": HARD[:1]})) == {"data"}
    assert set(computed) == set(HARD)
    assert computed.total() == 101  # those of a refused operation are not computed


@pytest.mark.parametrize("key", ["email", "username"])
async def test_nothing_is_computed_for_a_caller_who_can_read_nobody(
    directory: Asking, computed: Counter[str], key: str
) -> None:
    nobody = service(Scope.WRITE)
    query = f"""query ($text: String!, $filter: StringFilter, $search: String) {{
      userBy(by: {{{key}: $text}}) {{ id }}
      users(filter: {{{key}: $filter}}, search: $search) {{ totalCount nodes {{ id }} }} }}"""
    given: dict[str, Any] = {"text": HARD[0], "filter": {"in": HARD, "contains": "ü"}}
    given["search"] = "ü"
    assert await directory.ask_all(nobody, query, **given) == {
        "userBy": None,
        "users": {"totalCount": 0, "nodes": []},
    }
    assert not computed
    wrong = given | {"filter": {"in": ["x" * 301]}}
    answer = await directory.send(nobody, query, **wrong)
    assert answer["errors"] == [("INVALID_ARGUMENT", ["users"])]
    await directory.ask_all(linked(1), query, **given)  # who can read Mia
    assert set(computed) - {"mia", "mia@example.com"} == set(HARD)


BULK = """mutation ($input: BulkUsersInput!) {
  bulkUsers(input: $input) { succeeded replayed errors { code }
    results { user { username version } errors { code } } } }"""
KEEP = """mutation ($input: UpdateUserInput!) { updateUser(input: $input) {
  errors { code ... on VersionConflictError { changedFields } } } }"""


def upserts(number: int) -> list[dict[str, Any]]:
    return [
        {"upsert": {"by": {"email": HARD[n]}, "username": f"usér{n}", "email": HARD[n]}}
        for n in range(number)
    ]


async def test_a_batch_parses_each_text_once_and_pauses(
    client: Client, computed: Counter[str], pauses: Counter[str]
) -> None:
    answer = await client.ask(BULK, input={"operations": upserts(50)})
    assert (answer["succeeded"], answer["errors"]) == (50, [])
    assert computed == dict.fromkeys([*HARD[:50], *(f"usér{n}" for n in range(50))], 1)
    assert pauses.total() >= 100  # where they are parsed, and where they are planned


async def test_a_batch_that_is_not_allowed_parses_nothing(
    directory: Asking, computed: Counter[str]
) -> None:
    reader = service(Scope.READ)
    answer = await directory.ask(reader, BULK, input={"operations": upserts(50)})
    assert answer["results"] == [{"user": None, "errors": [{"code": "FORBIDDEN"}]}] * 50
    assert not computed


async def test_an_idempotency_key_is_of_the_same_text_however_it_is_made() -> None:
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
        assert key.request == json.dumps([verb, asdict(given)], sort_keys=True, default=repr)


async def test_what_many_versions_changed_is_a_row_for_each_field(
    client: Client, statements: list[str]
) -> None:
    user = await client.create("ada")
    for n in range(30):
        await client.do("updateUser", user["id"], displayName=f"Ada {n}")
    await client.do("updateUser", user["id"], externalId="1")
    stale = {"id": user["id"], "expectedVersion": 2, "displayName": "x"}
    conflict = {"code": "VERSION_CONFLICT", "changedFields": ["displayName", "externalId"]}
    assert await client.ask(KEEP, input=stale) == {"errors": [conflict]}
    async with client.database.session() as session:
        found = await session.execute(fields_changed_since([1], 2))
        rows = sorted(tuple(row) for row in found)
    assert rows == [(1, "displayName", 31), (1, "externalId", 32)]
    assert not [s for s in statements if "user_events.changes" in s and "GROUP BY" not in s]


async def test_a_long_history_is_replayed_and_erased_with_pauses(
    client: Client, pauses: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_slices, "_ROWS", 1)
    user = await client.create("ada")
    for n in range(20):
        await client.do("updateUser", user["id"], displayName=f"Ada {n}")
    change = {"operations": [{"update": {"id": user["id"], "username": "eva"}}]}
    first = await client.ask(BULK, input=change | {"idempotencyKey": "k"})
    await client.do("updateUser", user["id"], username="ida")
    before = pauses.total()
    again = await client.ask(BULK, input=change | {"idempotencyKey": "k"})
    assert again == first | {"replayed": True}
    assert again["results"][0]["user"] == {"username": "eva", "version": 22}
    assert pauses.total() - before >= 21
    await client.do("deleteUser", user["id"])
    before = pauses.total()
    erase = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
    given = {"id": user["id"], "confirmUsername": "ida", "reason": "asked for"}
    assert await client.ask(erase, input=given) == {"errors": []}
    assert pauses.total() - before >= 23
    events = await client.events(user["id"])
    changes = [change for event in events for change in event["changes"]]
    assert {change["after"] for change in changes} <= {None, "ACTIVE", "DELETED"}
