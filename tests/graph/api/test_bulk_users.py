"""bulkUsers: a batch of operations, applied in order; each has the result it has by itself."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.client import CREATE, ERRORS, USER, Client, count

BULK = f"""mutation ($input: BulkUsersInput!) {{ bulkUsers(input: $input) {{
  succeeded failed replayed {ERRORS}
  results {{ index user {{ {USER} }} deletedUserId created changed {ERRORS} }} }} }}"""
UPSERT = f"""mutation ($input: UpsertUserInput!) {{ upsertUser(input: $input) {{
  user {{ {USER} }} created changed {ERRORS} }} }}"""

Operation = dict[str, dict[str, Any]]


async def bulk(client: Client, *operations: Operation, **more: Any) -> dict[str, Any]:
    payload: dict[str, Any] = await client.ask(BULK, input={"operations": operations} | more)
    assert [result["index"] for result in payload["results"]] == list(range(len(operations)))
    return payload


def create(name: str, **fields: Any) -> Operation:
    return {"create": {"username": name, "email": f"{name}@example.com"} | fields}


def codes(payload: dict[str, Any]) -> list[list[tuple[str, list[str]]]]:
    """The errors of each result: the code, and the path below the operation's own path."""
    for result in payload["results"]:
        own = ["input", "operations", str(result["index"])]
        assert all(error["path"][:3] == own for error in result["errors"])
    return [[(e["code"], e["path"][3:]) for e in r["errors"]] for r in payload["results"]]


@dataclass
class EveryKind:
    """A batch with every kind of operation: its payload, and the users from before."""

    users: dict[str, dict[str, Any]]
    payload: dict[str, Any]
    before: tuple[int, int]


@pytest.fixture
async def every_kind(client: Client) -> EveryKind:
    users = {name: await client.create(name) for name in ("upd", "off", "onn", "del", "res")}
    await client.mutate("deactivateUser", users["onn"]["id"])
    await client.mutate("deleteUser", users["res"]["id"])
    before = await count(client.database)
    payload = await bulk(
        client,
        create("new", externalId="hr-1"),
        {"update": {"id": users["upd"]["id"], "displayName": "Updated"}},
        {"upsert": {"by": {"externalId": "HR-2"}, "username": "two", "email": "two@example.com"}},
        {"upsert": {"by": {"username": "UPD"}, "externalId": "hr-3"}},
        {"deactivate": {"id": users["off"]["id"], "reason": "on leave"}},
        {"reactivate": {"id": users["onn"]["id"]}},
        {"delete": {"id": users["del"]["id"], "reason": "left"}},
        {"restore": {"id": users["res"]["id"], "expectedVersion": 2}},
        {"reactivate": {"id": users["onn"]["id"]}},
    )
    return EveryKind(users, payload, before)


async def test_batch_with_every_kind_of_operation_reports_each_result(
    every_kind: EveryKind,
) -> None:
    payload = every_kind.payload
    assert (payload["succeeded"], payload["failed"], payload["replayed"]) == (9, 0, False)
    assert payload["errors"] == []
    assert codes(payload) == [[]] * 9
    results = payload["results"]
    assert [r["created"] for r in results] == [True, False, True, *[False] * 6]
    assert [r["changed"] for r in results] == [True] * 8 + [False]
    assert [r["deletedUserId"] for r in results] == [
        every_kind.users["del"]["id"] if n == 6 else None for n in range(9)
    ]


async def test_batch_with_every_kind_of_operation_returns_each_user_as_stored(
    client: Client, every_kind: EveryKind
) -> None:
    returned = [result["user"] for result in every_kind.payload["results"]]
    assert [(user["username"], user["status"], user["version"]) for user in returned] == [
        ("new", "ACTIVE", 1),
        ("upd", "ACTIVE", 2),
        ("two", "ACTIVE", 1),
        ("upd", "ACTIVE", 3),
        ("off", "DEACTIVATED", 2),
        ("onn", "ACTIVE", 3),
        ("del", "DELETED", 2),
        ("res", "DEACTIVATED", 3),
        ("onn", "ACTIVE", 3),
    ]
    for user in returned:
        now = await client.ask(f"query ($id: ID!) {{ user(id: $id) {{ {USER} }} }}", id=user["id"])
        assert now["version"] >= user["version"]
        if now["version"] == user["version"]:
            assert now == user


async def test_batch_with_every_kind_of_operation_records_one_event_per_change(
    client: Client, every_kind: EveryKind
) -> None:
    users, before = every_kind.users, every_kind.before
    updated = await client.events(users["upd"]["id"])
    assert [event["type"] for event in updated] == ["CREATED", "UPDATED", "UPDATED"]
    assert (await client.events(users["del"]["id"]))[-1]["reason"] == "left"
    assert await count(client.database) == (before[0] + 2, before[1] + 8)


async def test_atomic_batch_with_an_invalid_operation_changes_nothing(client: Client) -> None:
    ada = await client.create("ada")
    payload = await bulk(
        client,
        create("bob"),
        create("x"),
        {"deactivate": {"id": ada["id"]}},
        {"update": {"id": "VXNlcjo5OQ", "username": "ADA", "email": "no"}},
    )
    assert (payload["succeeded"], payload["failed"]) == (0, 4)
    assert payload["errors"] == [
        {
            "__typename": "GenericError",
            "code": "BATCH_ABORTED",
            "message": "Nothing was executed, because 2 of 4 operations were rejected.",
            "path": ["input", "operations"],
        }
    ]
    assert codes(payload) == [
        [("BATCH_ABORTED", [])],
        [("TOO_SHORT", ["create", "username"])],
        [("BATCH_ABORTED", [])],
        [
            ("NOT_FOUND", ["update", "id"]),
            ("INVALID_FORMAT", ["update", "email"]),
            ("TAKEN", ["update", "username"]),
        ],
    ]
    for result in payload["results"]:
        assert (result["user"], result["created"], result["changed"]) == (None, False, False)
    assert await count(client.database) == (1, 1)


async def test_partial_batch_applies_only_the_valid_operations(client: Client) -> None:
    ada = await client.create("ada")
    operations = (create("bob"), create("x"), {"deactivate": {"id": ada["id"]}})
    payload = await bulk(client, *operations, mode="PARTIAL")
    assert (payload["succeeded"], payload["failed"], payload["errors"]) == (2, 1, [])
    assert codes(payload) == [[], [("TOO_SHORT", ["create", "username"])], []]
    assert await count(client.database) == (2, 3)

    nothing = await bulk(client, create("x"), create("ADA"), mode="PARTIAL")
    assert (nothing["succeeded"], nothing["failed"], nothing["errors"]) == (0, 2, [])
    assert await count(client.database) == (2, 3)


@pytest.mark.parametrize("mode", ["ATOMIC", "PARTIAL"])
async def test_batch_rejects_equal_usernames_and_emails_within_itself(
    client: Client, mode: str
) -> None:
    payload = await bulk(
        client,
        create("Émile", externalId="1"),
        create("E\u0301MILE", email="other@example.com"),
        create("bob", email="ÉMILE@Example.com", externalId="1"),
        create("eve"),
        mode=mode,
    )
    fine: list[tuple[str, list[str]]] = [("BATCH_ABORTED", [])] if mode == "ATOMIC" else []
    assert codes(payload) == [
        fine,
        [("TAKEN", ["create", "username"])],
        [("TAKEN", ["create", "email"]), ("TAKEN", ["create", "externalId"])],
        fine,
    ]
    assert await count(client.database) == ((0, 0) if mode == "ATOMIC" else (2, 2))


BY_USERNAME = "{ users(orderBy: [{field: USERNAME}]) { nodes { username displayName version } } }"


async def test_usernames_can_be_swapped_within_a_batch(client: Client) -> None:
    """By way of a third name, so that no order of single rows could be written."""
    x, y = [await client.create(name) for name in ("xxx", "yyy")]
    payload = await bulk(
        client,
        {"update": {"id": x["id"], "username": "tmp"}},
        {"update": {"id": y["id"], "username": "xxx"}},
        {"update": {"id": x["id"], "username": "yyy"}},
        mode="PARTIAL",
    )
    assert codes(payload) == [[]] * 3
    assert (await client.ask(BY_USERNAME))["nodes"] == [
        {"username": "xxx", "displayName": None, "version": 2},
        {"username": "yyy", "displayName": None, "version": 3},
    ]
    changes = [
        [(c["field"], c["before"], c["after"]) for c in e["changes"]]
        for e in await client.events(x["id"])
    ]
    assert changes[1:] == [[("username", "xxx", "tmp")], [("username", "tmp", "yyy")]]


async def test_user_created_in_a_batch_takes_a_deleted_name_and_is_found_by_it(
    client: Client,
) -> None:
    z = await client.create("zzz")
    payload = await bulk(
        client,
        {"delete": {"id": z["id"]}},
        create("ZZZ"),
        {"restore": {"id": z["id"]}},
        {"upsert": {"by": {"username": "zzz"}, "displayName": "Z"}},
        {"upsert": {"by": {"username": "zzz"}, "displayName": "Y", "expectedVersion": 1}},
        mode="PARTIAL",
    )
    assert codes(payload) == [
        *[[]] * 2,
        [("TAKEN", ["restore", "username"]), ("TAKEN", ["restore", "email"])],
        [],
        [("VERSION_CONFLICT", ["upsert", "expectedVersion"])],
    ]
    assert (await client.ask(BY_USERNAME))["nodes"] == [
        {"username": "ZZZ", "displayName": "Z", "version": 2}
    ]


async def test_expected_version_counts_the_earlier_operations_of_the_batch(client: Client) -> None:
    x = await client.create("xxx")
    payload = await bulk(
        client,
        {"update": {"id": x["id"], "username": "tmp"}},
        {"update": {"id": x["id"], "username": "yyy"}},
        {"update": {"id": x["id"], "displayName": "X", "expectedVersion": 1}},
        {"update": {"id": x["id"], "displayName": "X", "expectedVersion": 3}},
        mode="PARTIAL",
    )
    conflict = [("VERSION_CONFLICT", ["update", "expectedVersion"])]
    assert codes(payload) == [[], [], conflict, []]
    assert (await client.ask(BY_USERNAME))["nodes"] == [
        {"username": "yyy", "displayName": "X", "version": 4}
    ]
    last = (await client.events(x["id"]))[-1]
    changed = [(c["field"], c["before"], c["after"]) for c in last["changes"]]
    assert changed == [("displayName", None, "X")]


async def test_version_conflict_includes_changes_made_earlier_in_the_batch(client: Client) -> None:
    ada = await client.create("ada")
    await client.mutate("updateUser", ada["id"], externalId="hr-1")
    query = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { results { errors {
      ... on VersionConflictError { actualVersion changedFields current { displayName } } } } } }"""
    payload = await client.ask(
        query,
        input={
            "mode": "PARTIAL",
            "operations": [
                {"update": {"id": ada["id"], "displayName": "A"}},
                {"update": {"id": ada["id"], "username": "eve", "expectedVersion": 1}},
                {"update": {"id": ada["id"], "username": "eve", "expectedVersion": 2}},
            ],
        },
    )
    current = {"displayName": "A"}
    assert [r["errors"] for r in payload["results"]] == [
        [],
        [
            {
                "actualVersion": 3,
                "changedFields": ["displayName", "externalId"],
                "current": current,
            }
        ],
        [{"actualVersion": 3, "changedFields": ["displayName"], "current": current}],
    ]


async def test_validate_only_operation_in_a_batch_changes_nothing(client: Client) -> None:
    payload = await bulk(
        client,
        create("ada", validateOnly=True),
        create("ada"),
        create("ADA", validateOnly=True),
        mode="PARTIAL",
    )
    assert codes(payload) == [
        [],
        [],
        [("TAKEN", ["create", "username"]), ("TAKEN", ["create", "email"])],
    ]
    assert [r["user"] and r["user"]["username"] for r in payload["results"]] == [None, "ada", None]
    assert await count(client.database) == (1, 1)


async def test_batch_accepts_at_most_500_operations(client: Client) -> None:
    empty = {"succeeded": 0, "failed": 0, "replayed": False, "errors": [], "results": []}
    assert await bulk(client) == empty
    payload = await client.ask(BULK, input={"operations": [create("ada")] * 501})
    assert payload == empty | {
        "failed": 501,
        "errors": [
            {
                "__typename": "GenericError",
                "code": "LIMIT_EXCEEDED",
                "message": "A batch can have 500 operations; this one has 501.",
                "path": ["input", "operations"],
            }
        ],
    }
    whole = await bulk(client, *(create(f"user{n}") for n in range(500)))
    assert (whole["succeeded"], whole["failed"]) == (500, 0)
    assert await count(client.database) == (500, 500)


async def test_idempotency_key_of_an_operation_in_a_batch_is_rejected(client: Client) -> None:
    answer = await client.send(BULK, input={"operations": [create("ada", idempotencyKey="k")]})
    assert answer["data"] == {"bulkUsers": None}
    assert [(e["message"], e["extensions"]) for e in answer["errors"]] == [
        (
            "In `bulkUsers` the `idempotencyKey` is the batch's own.",
            {"code": "INVALID_ARGUMENT"},
        )
    ]
    assert await count(client.database) == (0, 0)


async def test_statement_count_does_not_grow_with_the_batch(
    client: Client, statements: list[str]
) -> None:
    users = [(await client.create(f"user{n}"))["id"] for n in range(40)]

    async def ran(*operations: Operation) -> int:
        statements.clear()
        assert (await bulk(client, *operations))["failed"] == 0
        return len([s for s in statements if not s.startswith("BEGIN")])

    for kind, expected in (
        (lambda n, i: create(f"new{n}-{i}"), 3),
        (lambda _, i: {"update": {"id": i, "displayName": f"N{random.random()}"}}, 3),  # noqa: S311
        (lambda n, i: {"update": {"id": i, "username": f"name{n}-{i}".lower()}}, 4),
        (lambda n, _: {"upsert": {"by": {"username": f"user{n}x"}, "email": f"{n}@x.com"}}, 4),
        (lambda n, _: {"upsert": {"by": {"email": f"{n}@x.com"}, "displayName": f"U{n}"}}, 4),
        (lambda _, i: {"deactivate": {"id": i}}, 3),
        (lambda _, i: {"reactivate": {"id": i}}, 3),
        (lambda _, i: {"delete": {"id": i}}, 3),
        (lambda _, i: {"restore": {"id": i}}, 4),
    ):
        two = await ran(*(kind(n, users[n]) for n in range(2)))
        assert two == expected
        assert await ran(*(kind(n, users[n]) for n in range(2, 40))) == two


async def test_concurrent_batches_create_each_username_once(client: Client) -> None:
    """Each name has one owner in the end, and only its owner's operation succeeded."""
    for n in range(10):
        names = [f"{n}-user{i}" for i in range(20)]
        payloads = await asyncio.gather(
            bulk(client, *map(create, names), mode="PARTIAL"),
            bulk(client, *map(create, reversed(names)), mode="PARTIAL"),
            *(client.ask(CREATE, input=create(name)["create"]) for name in names[::5]),
        )
        batches, singles = payloads[:2], payloads[2:]
        returned_users = [r["user"] for b in batches for r in b["results"]] + [
            s["user"] for s in singles
        ]
        assert sorted(user["username"] for user in returned_users if user) == sorted(names)
        errors = [e for b in batches for r in b["results"] for e in r["errors"]]
        errors += [e for s in singles for e in s["errors"]]
        assert {e["code"] for e in errors} == {"TAKEN"}
    assert await count(client.database) == (200, 200)


EVERYBODY = f"""{{ users(first: 100, orderBy: [{{field: USERNAME}}, {{field: CREATED_AT}}],
  filter: {{status: [ACTIVE, DEACTIVATED, DELETED]}}) {{ nodes {{ {USER} history {{ nodes {{
    type reason versionAfter changes {{ field before after }} }} }} }} }} }}"""
NAMES = ["ada", "ADA", "bob", "Émile", "E\u0301MILE", "x", "cleo", "dora"]


def random_operation(rng: random.Random, people: int) -> tuple[str, dict[str, Any], int | None]:
    """Returns a random operation: its verb, its fields, and the index of its user."""
    someone = rng.randrange(people + 1)  # the last index is an unknown id
    seen = {"expectedVersion": rng.randint(1, 3)} if rng.random() < 0.2 else {}
    fields: dict[str, Any] = {}
    if rng.random() < 0.6:
        fields["username"] = rng.choice(NAMES)
    if rng.random() < 0.6:
        fields["email"] = f"{rng.choice(NAMES)}@example.com"
    if rng.random() < 0.3:
        fields["externalId"] = rng.choice(["1", "2", None])
    if rng.random() < 0.3:
        fields["displayName"] = rng.choice(["A", "B", "", None])
    match rng.choice(["create", "update", "upsert", "deactivate", "delete", "restore"]):
        case "create":
            name = rng.choice(NAMES)
            return "create", {"username": name, "email": f"{name}@example.com"} | fields, None
        case "update":
            return "update", fields | seen, someone
        case "upsert":
            key = rng.choice(["username", "email", "externalId"])
            name = rng.choice(NAMES)
            value = {"username": name, "email": f"{name}@example.com", "externalId": "1"}[key]
            return "upsert", {"by": {key: value}} | fields | seen, None
        case "deactivate":
            return rng.choice(["deactivate", "reactivate"]), {"reason": "why"} | seen, someone
        case verb:
            return verb, seen, someone


def without_ids(answer: Any) -> Any:
    """Removes what differs between two directories: ids and times."""
    match answer:
        case dict():
            return {
                k: without_ids(v) for k, v in answer.items() if k not in {"id", "deletedAt", "path"}
            }
        case list():
            return [without_ids(value) for value in answer]
        case _:
            return answer


@pytest.mark.parametrize("seed", range(6))
async def test_batch_results_equal_those_of_single_operations(
    client: Client, twin: Client, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same operations on every run
    directories = (client, twin)
    ids = [
        [(await each.create(name))["id"] for name in ("ada", "bob", "cleo", "frank")]
        + ["VXNlcjo5OTk5"]
        for each in directories
    ]
    for _ in range(6):
        operations = [random_operation(rng, 4) for _ in range(12)]

        def given(directory: int, operation: tuple[str, dict[str, Any], int | None]) -> Operation:
            verb, fields, someone = operation
            return {verb: fields | ({} if someone is None else {"id": ids[directory][someone]})}

        batch = await bulk(
            client, *(given(0, operation) for operation in operations), mode="PARTIAL"
        )
        for result, operation in zip(batch["results"], operations, strict=True):
            [(verb, fields)] = given(1, operation).items()
            match verb:
                case "create":
                    alone = await twin.ask(CREATE, input=fields)
                case "upsert":
                    alone = await twin.ask(UPSERT, input=fields)
                case _:
                    user_id = fields.pop("id")
                    alone = await twin.mutate(f"{verb}User", user_id, **fields)
            assert without_ids({name: result[name] for name in alone}) == without_ids(alone), (
                verb,
                fields,
            )
    lists = [without_ids(await each.ask(EVERYBODY)) for each in directories]
    assert lists[0] == lists[1]
    assert all(
        [e["versionAfter"] for e in user["history"]["nodes"]] == list(range(1, user["version"] + 1))
        for user in lists[0]["nodes"]
    )


async def test_expected_version_of_a_user_created_in_the_same_batch_is_checked(
    client: Client,
) -> None:
    new = {"upsert": {"by": {"username": "ada"}, "email": "ada@example.com"}}

    def again(version: int) -> Operation:
        given = {"by": {"username": "ada"}, "displayName": "A", "expectedVersion": version}
        return {"upsert": given}

    rejected = await bulk(client, new, again(2))
    assert codes(rejected) == [[("BATCH_ABORTED", [])], [("NOT_FOUND", ["upsert", "by"])]]
    assert await count(client.database) == (0, 0)
    done = await bulk(client, new, again(1), again(1), mode="PARTIAL")
    assert codes(done) == [[], [], [("VERSION_CONFLICT", ["upsert", "expectedVersion"])]]
    assert done["results"][1]["user"]["version"] == 2


async def test_version_conflict_describes_the_current_owner_of_the_key(client: Client) -> None:
    bob = await client.create("bob")
    await client.mutate("updateUser", bob["id"], displayName="Bob")
    gone = await client.create("cleo")
    await client.mutate("deleteUser", gone["id"])
    cleo = await client.create("cleo", email="c@example.com")
    await client.mutate("updateUser", cleo["id"], externalId="1")
    query = """mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { results { errors {
      ... on VersionConflictError { changedFields } } } } }"""
    operations = [
        {"update": {"id": bob["id"], "username": "bobby"}},
        {"upsert": {"by": {"username": "bobby"}, "expectedVersion": 1}},
        {"upsert": {"by": {"username": "cleo"}, "expectedVersion": 1}},
        {"delete": {"id": gone["id"]}},
    ]
    payload = await client.ask(query, input={"mode": "PARTIAL", "operations": operations})
    assert [r["errors"] for r in payload["results"]] == [
        [],
        [{"changedFields": ["username", "displayName"]}],
        [{"changedFields": ["externalId"]}],
        [],
    ]


async def test_null_variable_for_the_batch_mode_is_a_validation_error(client: Client) -> None:
    query = """mutation ($o: [UserOperation!]!, $m: BulkMode) {
      bulkUsers(input: {operations: $o, mode: $m}) { succeeded } }"""
    answer = await client.send(query, o=[create("ada")], m=None)
    assert answer["data"] == {"bulkUsers": None}
    assert [e["extensions"] for e in answer["errors"]] == [{"code": "GRAPHQL_VALIDATION_FAILED"}]
    assert await count(client.database) == (0, 0)


async def test_concurrent_upserts_and_deletions_of_one_key_succeed(client: Client) -> None:
    async def sync() -> None:
        for _ in range(20):
            given = {"by": {"username": "ada"}, "email": "ada@example.com"}
            payload = await client.ask(UPSERT, input=given)
            assert payload["errors"] == []
            await client.mutate("deleteUser", payload["user"]["id"])

    await asyncio.gather(*(sync() for _ in range(8)))
