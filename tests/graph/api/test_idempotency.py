"""idempotencyKey: a repeated request is not executed again; its result is replayed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from db.engine import Database
from db.models import ActorKind, IdempotencyKey
from tests.graph.api.test_bulk_users import BULK, Operation, create
from tests.support.client import ERRORS, USER, Client, count
from users import commands
from users.commands import CommandsRejected, Create, UniquenessRace
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.service import UserService

KEYED = f"""mutation ($input: CreateUserInput!) {{ createUser(input: $input) {{
  user {{ {USER} createdAt updatedAt statusChangedAt }} userEdge {{ cursor }}
  replayed {ERRORS} }} }}"""
ADA = {"username": "ada", "email": "ada@example.com", "displayName": "Ada", "idempotencyKey": "k"}
REUSED = {
    "__typename": "GenericError",
    "code": "IDEMPOTENCY_KEY_REUSED",
    "message": "This key was used with a different input. Use a new key.",
    "path": ["input", "idempotencyKey"],
}


async def test_repeated_request_replays_the_first_result(client: Client) -> None:
    first = await client.ask(KEYED, input=ADA)
    assert (first["replayed"], first["errors"]) == (False, [])
    assert await client.ask(KEYED, input=ADA) == first | {"replayed": True}

    # The result does not depend on later changes of the user.
    user_id = first["user"]["id"]
    await client.mutate("updateUser", user_id, username="eve", displayName=None, externalId="hr-1")
    await client.mutate("deactivateUser", user_id, reason="on leave")
    await client.mutate("deleteUser", user_id)
    before = await count(client.database)
    assert await client.ask(KEYED, input=ADA) == first | {"replayed": True}
    assert await count(client.database) == before


@pytest.mark.parametrize(
    "other",
    [
        {"username": "bob"},
        {"displayName": None},
        {"isActive": False},
        {"externalId": "x"},
        {"email": "\ud800"},
    ],
)
async def test_key_with_a_different_input_is_rejected(
    client: Client, other: dict[str, Any]
) -> None:
    await client.ask(KEYED, input=ADA)
    payload = await client.ask(KEYED, input=ADA | other)
    assert payload == {"user": None, "userEdge": None, "replayed": False, "errors": [REUSED]}
    same = {k: v for k, v in ADA.items() if k != "idempotencyKey"}
    batch = await client.ask(
        BULK, input={"operations": [{"create": same}], "idempotencyKey": ADA["idempotencyKey"]}
    )
    assert (batch["errors"], batch["results"], batch["failed"]) == ([REUSED], [], 1)
    assert await count(client.database) == (1, 1)


async def test_key_of_a_rejected_request_can_be_used_again(client: Client) -> None:
    wrong = await client.ask(KEYED, input=ADA | {"email": "x"})
    assert [e["code"] for e in wrong["errors"]] == ["INVALID_FORMAT"]
    checked = await client.ask(KEYED, input=ADA | {"validateOnly": True})
    assert checked["errors"] == []
    right = await client.ask(KEYED, input=ADA)
    assert (right["replayed"], right["user"]["username"]) == (False, "ada")


@pytest.mark.parametrize(("key", "code"), [("", "TOO_SHORT"), ("k" * 256, "TOO_LONG")])
async def test_key_must_have_1_to_255_characters(client: Client, key: str, code: str) -> None:
    payload = await client.ask(KEYED, input=ADA | {"idempotencyKey": key, "email": "x"})
    assert [(e["code"], e["path"]) for e in payload["errors"]] == [
        ("INVALID_FORMAT", ["input", "email"]),
        (code, ["input", "idempotencyKey"]),
    ]
    batch = await client.ask(BULK, input={"operations": [create("ada")], "idempotencyKey": key})
    assert [(e["code"], e["path"], e["min"], e["max"]) for e in batch["errors"]] == [
        (code, ["input", "idempotencyKey"], 1, 255)
    ]
    assert [e["code"] for e in batch["results"][0]["errors"]] == ["BATCH_ABORTED"]
    assert await count(client.database) == (0, 0)


@pytest.mark.parametrize("key", ["k" * 255, "\ud800", "\x00", "É 😀"])
async def test_key_accepts_any_characters(client: Client, key: str) -> None:
    payloads = [await client.ask(KEYED, input=ADA | {"idempotencyKey": key}) for _ in range(2)]
    assert [payload["replayed"] for payload in payloads] == [False, True]


async def test_concurrent_requests_with_one_key_are_executed_once(client: Client) -> None:
    for n in range(20):
        given = ADA | {
            "username": f"ada{n}",
            "email": f"{n}@example.com",
            "idempotencyKey": f"k{n}",
        }
        payloads = await asyncio.gather(*(client.ask(KEYED, input=given) for _ in range(5)))
        assert sorted(p.pop("replayed") for p in payloads) == [False] + [True] * 4
        assert payloads == payloads[:1] * 5
        assert payloads[0]["user"]["username"] == f"ada{n}"
    assert await count(client.database) == (20, 20)


async def test_repeated_batch_replays_results_and_errors(client: Client) -> None:
    old = await client.create("old")
    gone = await client.create("gone")
    await client.mutate("deleteUser", gone["id"])
    batch: list[Operation] = [
        create("ada"),
        create("ADA"),
        {"update": {"id": old["id"], "displayName": "Old", "externalId": "1"}},
        {"update": {"id": old["id"], "displayName": "Older", "expectedVersion": 1}},
        {"update": {"id": "VXNlcjo5OQ", "displayName": "Nobody"}},
        {"deactivate": {"id": gone["id"]}},
        {"delete": {"id": old["id"], "reason": "left"}},
        create("zoe", validateOnly=True),
    ]
    query = BULK.replace(
        "... on FieldError",
        """... on NotFoundError { userId } ... on TransitionError { from current { version } }
        ... on VersionConflictError { actualVersion changedFields current { displayName } }
        ... on FieldError""",
    )
    given = {"operations": batch, "mode": "PARTIAL", "idempotencyKey": "k"}
    first = await client.ask(query, input=given)
    assert (first["succeeded"], first["failed"]) == (4, 4)
    assert first["results"][3]["errors"][0]["current"] == {"displayName": "Old"}
    before = await count(client.database)
    await client.mutate("restoreUser", old["id"])
    await client.mutate("updateUser", old["id"], displayName="Newer")
    again = await client.ask(query, input=given)
    assert again == first | {"replayed": True}
    assert await count(client.database) == (before[0], before[1] + 2)
    other = await client.ask(query, input=given | {"mode": "ATOMIC"})
    assert (other["errors"], other["results"]) == ([REUSED], [])


async def test_key_with_a_different_invalid_id_is_rejected(client: Client) -> None:
    def given(user_id: str) -> dict[str, Any]:
        update = {"update": {"id": user_id, "displayName": "X"}}
        operations = [create("ada"), update]
        return {"operations": operations, "mode": "PARTIAL", "idempotencyKey": "k"}

    assert (await client.ask(BULK, input=given("nonsense")))["succeeded"] == 1
    assert (await client.ask(BULK, input=given("nonsense")))["replayed"] is True
    assert (await client.ask(BULK, input=given("other")))["errors"] == [REUSED]


async def test_key_of_an_aborted_batch_can_be_used_again(client: Client) -> None:
    given: dict[str, Any] = {"operations": [create("ada"), create("x")], "idempotencyKey": "k"}
    assert (await client.ask(BULK, input=given))["failed"] == 2
    mended = given | {"operations": [create("ada"), create("xyz")]}
    done = await client.ask(BULK, input=mended)
    assert (done["succeeded"], done["replayed"]) == (2, False)
    assert (await client.ask(BULK, input=mended))["replayed"] is True
    assert await count(client.database) == (2, 2)


async def test_request_that_was_not_committed_is_executed_again(client: Client) -> None:
    """The first attempt fails when everything but the key's result is written."""
    engine = client.database.engine.sync_engine
    fails = True

    @event.listens_for(engine, "before_cursor_execute")
    def fail(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if fails and statement.startswith("UPDATE idempotency_keys"):
            raise ConnectionResetError

    lost = await client.send(KEYED, input=ADA)
    [error] = lost["errors"]
    assert set(lost) == {"errors"}
    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
    assert error["extensions"]["outcome"] == "NOT_DONE"
    assert await count(client.database) == (0, 0)
    fails = False
    done = await client.ask(KEYED, input=ADA)
    assert (done["replayed"], done["user"]["version"]) == (False, 1)


NOW = datetime(2026, 1, 31, tzinfo=UTC)
ANA = Actor(ActorKind.USER, id="ana")
CALLER = Caller(ANA, EVERY_SCOPE)


def creation(name: str) -> Create:
    return Create(fields={"username": name, "email": f"{name}@example.com"})


async def done(database: Database, actor: Actor, name: str, at: datetime = NOW) -> bool:
    async with database.session() as session, session.transaction():
        caller = Caller(actor, EVERY_SCOPE)
        service = UserService(session, caller, clock=lambda: at)
        key = commands.IdempotencyKey(text="k", request=name)
        return (await service.execute([creation(name)], key=key)).replayed


async def test_keys_of_different_callers_are_independent(database: Database) -> None:
    assert await done(database, ANA, "ada") is False
    for other in (
        Actor(ActorKind.SERVICE, id="ana"),
        replace(ANA, id="bob"),
        replace(ANA, id=None),
    ):
        with pytest.raises(CommandsRejected, match="username: TAKEN"):
            await done(database, other, "ada")
    assert await done(database, replace(ANA, label="Ana"), "ada") is True
    assert await done(database, replace(ANA, id="bob"), "bob") is False
    assert await count(database) == (2, 2)


async def test_keys_expire_after_a_day(database: Database) -> None:
    assert await done(database, ANA, "ada") is False
    day = timedelta(hours=24)
    assert await done(database, ANA, "ada", NOW + day - timedelta(microseconds=1)) is True
    assert await done(database, ANA, "bob", NOW + day) is False
    assert await done(database, ANA, "bob", NOW + day * 2 - timedelta(microseconds=1)) is True
    assert await count(database) == (2, 2)


async def test_stored_result_contains_no_personal_data(database: Database) -> None:
    await done(database, ANA, "ada")
    async with database.engine.connect() as connection:
        [row] = (await connection.execute(select(IdempotencyKey.__table__))).all()
        raw = (await connection.execute(text("SELECT * FROM idempotency_keys"))).one()
    assert row.answer == [{"user": [1, 1], "changed": True, "created": True, "problems": []}]
    assert "ada" not in str(raw)
    assert "ana" not in str(raw)


@pytest.mark.parametrize("taken", ["ADA", "ada"])
async def test_transaction_that_loses_a_uniqueness_race_is_rolled_back(
    database: Database, taken: str
) -> None:
    """Without the check, only the unique index rejects the name; the caller then retries."""

    async def execute_unchecked(*operations: commands.Command) -> None:
        async with database.session() as session, session.transaction():
            for operation in operations:
                await UserService(session, CALLER).execute([operation], check_taken=False)

    await done(database, ANA, "ada")
    await done(database, replace(ANA, id="bob"), "bob")
    rename = commands.Update(user_id=2, fields={"username": taken})
    for last in (creation(taken), rename):
        with pytest.raises(UniquenessRace):
            await execute_unchecked(creation("eve"), last)
    assert await count(database) == (2, 2)


# A request and its row as commit d2b8dee stored them. Rows are read for 24 hours, by later versions
# too: what changes the fingerprint or the answer's form makes clients do a request twice.
STORED_BATCH: dict[str, Any] = {
    "operations": [
        create("ada"),
        create("ADA", email="other@example.com"),
        {"update": {"id": "VXNlcjox", "displayName": None, "expectedVersion": 1}},
        {"update": {"id": "VXNlcjo5OQ", "externalId": "hr-1"}},
        {"deactivate": {"id": "VXNlcjoy"}},
        {"delete": {"id": "VXNlcjox", "eraseAfter": "2030-01-01T00:00:00Z"}},
        {"upsert": {"by": {"username": "x"}}},
    ],
    "mode": "PARTIAL",
    "idempotencyKey": "k",
}
STORED_FINGERPRINT = "b3fb0885321598be4d2f7fc67b0b3345e681f4bcbb6a08e0a83ae3cc508f1aed"
NOTHING = {"user": None, "changed": False, "created": False}
STORED_ANSWER: list[dict[str, Any]] = [
    {"user": [3, 1], "changed": True, "created": True, "problems": []},
    NOTHING
    | {
        "problems": [
            {
                "kind": "FieldProblem",
                "code": "TAKEN",
                "message": "Another user has this username.",
                "field": "username",
                "min": None,
                "max": None,
                "pattern": None,
            }
        ]
    },
    NOTHING
    | {
        "problems": [
            {
                "kind": "VersionConflict",
                "user": [1, 2],
                "expected": 1,
                "changed_fields": ["displayName"],
                "field": "expected_version",
            }
        ]
    },
    NOTHING | {"problems": [{"kind": "UnknownUser", "user_id": 99, "field": "id"}]},
    NOTHING
    | {
        "problems": [
            {
                "kind": "WrongStatus",
                "message": "A deleted user cannot be deactivated. Restore it first.",
                "user": [2, 2],
                "status": "DELETED",
                "field": "id",
            }
        ]
    },
    {"user": [1, 3], "changed": True, "created": False, "problems": []},
    NOTHING
    | {
        "problems": [
            {
                "kind": "GeneralProblem",
                "code": "FORBIDDEN",
                "message": "You may not do this.",
                "field": "",
            }
        ]
    },
]


def without_messages(answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        result
        | {"problems": [{k: v for k, v in p.items() if k != "message"} for p in result["problems"]]}
        for result in answer
    ]


async def execute_stored_batch(client: Client) -> None:
    old = await client.create("old")
    await client.mutate("updateUser", old["id"], displayName="Old")
    gone = await client.create("gone")
    await client.mutate("deleteUser", gone["id"])
    assert (await client.ask(BULK, input=STORED_BATCH))["replayed"] is False


async def test_stored_answer_can_be_read_by_an_earlier_version(client: Client) -> None:
    """An earlier version can still run, and reads what this one stores."""
    await execute_stored_batch(client)
    async with client.database.engine.connect() as connection:
        row = (await connection.execute(select(IdempotencyKey.__table__))).one()
    assert row.fingerprint == STORED_FINGERPRINT
    # The last violation is of a class that this batch does not cause; messages can change.
    assert without_messages(row.answer)[:-1] == without_messages(STORED_ANSWER)[:-1]


async def test_answer_stored_by_an_earlier_version_is_replayed(client: Client) -> None:
    await execute_stored_batch(client)
    async with client.database.engine.begin() as connection:
        await connection.execute(update(IdempotencyKey).values(answer=STORED_ANSWER))
    query = BULK.replace(
        "... on FieldError",
        """... on NotFoundError { userId } ... on TransitionError { from current { username } }
        ... on VersionConflictError { expectedVersion changedFields current { displayName } }
        ... on FieldError""",
    )
    replayed = await client.ask(query, input=STORED_BATCH)
    assert (replayed["replayed"], replayed["succeeded"], replayed["failed"]) == (True, 2, 5)
    replayed_errors = [
        {k: v for k, v in error.items() if k not in ("message", "path")}
        for result in replayed["results"]
        for error in result["errors"]
    ]
    assert replayed_errors == [
        {"__typename": "FieldError", "code": "TAKEN", "min": None, "max": None},
        {
            "__typename": "VersionConflictError",
            "code": "VERSION_CONFLICT",
            "expectedVersion": 1,
            "changedFields": ["displayName"],
            "current": {"displayName": "Old"},
        },
        {"__typename": "NotFoundError", "code": "NOT_FOUND", "userId": "VXNlcjo5OQ"},
        {
            "__typename": "TransitionError",
            "code": "INVALID_TRANSITION",
            "from": "DELETED",
            "current": {"username": "gone"},
        },
        {"__typename": "GenericError", "code": "FORBIDDEN"},
    ]
    assert replayed["results"][0]["user"]["username"] == "ada"
    assert replayed["results"][5]["user"]["status"] == "DELETED"
