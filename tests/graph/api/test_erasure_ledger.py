"""Erasures are in the ledger before they are acknowledged, and are not done without it."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db.erasure_ledger.entries import Entry, ErasureLedger, RowIdentity, State
from db.models import User
from graph.settings import Settings
from tests.graph.api.test_erase_user import ERASE, READ, create_deleted_ada, erase
from tests.support.client import Client, count, serving
from tests.support.feed import wait_until
from tests.support.ledgers import FailingLedger, read_ledger, stored_entries
from users.retention import erase_due

BEGUN, ERASED, DISMISSED = State.BEGUN, State.ERASED, State.DISMISSED
PERSONAL = {"ada", "byron", "ockham", "countess", "hr-1815", "illness", "request"}
UNAVAILABLE = "The ledger of erasures is unavailable right now."
PAST = "2000-01-01T00:00:00Z"


@pytest.fixture
async def recorded(database_url: str, erasure_ledger: str) -> AsyncIterator[Client]:
    settings = Settings(database_url=database_url, erasure_ledger=erasure_ledger)
    async with serving(settings) as client:
        yield client


@pytest.fixture
async def failing(client: Client) -> FailingLedger:
    """The ledger of `client`."""
    ledger = FailingLedger()
    use_ledger(client, ledger)
    return ledger


def use_ledger(client: Client, ledger: ErasureLedger) -> None:
    database = client.database
    database.erasure_ledger = ledger
    database._backend.info["erasure_ledger"] = ledger  # type: ignore[index]  # noqa: SLF001 - as its constructor does


async def identity(client: Client, user_id: int) -> RowIdentity:
    async with client.database.session() as session:
        return RowIdentity.of(await session.get_one(User, user_id))


def words(file: str) -> set[str]:
    """Returns whole words: a random id may contain a name."""
    return set(re.split(r"[^\w-]+", Path(file).read_text().lower()))


async def test_erasure_is_recorded_without_personal_data(
    recorded: Client, erasure_ledger: str
) -> None:
    user_id = await create_deleted_ada(recorded)
    row = await identity(recorded, 1)
    assert row.random_id is not None
    assert await erase(recorded, user_id) == {"erasedUserId": user_id, "errors": []}
    assert await stored_entries(erasure_ledger) == [("begun", 1), ("erased", 1)]
    found = await read_ledger(erasure_ledger)
    assert (list(found.erased), list(found.incomplete())) == ([row], [])
    assert await identity(recorded, 1) == row  # an erasure does not change it
    if "://" not in erasure_ledger:
        assert words(erasure_ledger) & PERSONAL == set()


async def test_scheduled_erasures_are_recorded(recorded: Client, erasure_ledger: str) -> None:
    for name in ("mia", "ada", "bob"):
        user = await recorded.create(name)
        await recorded.mutate("deleteUser", user["id"], eraseAfter=PAST if name != "ada" else None)
    assert [n async for n in erase_due(recorded.database)] == [2]
    assert await stored_entries(erasure_ledger) == [
        ("begun", 1),
        ("begun", 3),
        ("erased", 1),
        ("erased", 3),
    ]


async def test_other_writes_and_rejected_erasures_are_not_recorded(
    recorded: Client, erasure_ledger: str
) -> None:
    user_id = await create_deleted_ada(recorded)
    assert (await erase(recorded, user_id, confirmUsername="mia"))["errors"]
    assert (await erase(recorded, "VXNlcjo5"))["errors"]
    assert await stored_entries(erasure_ledger) == []


@pytest.mark.parametrize("key", [{}, {"idempotencyKey": "once"}])
async def test_repeated_erasure_is_recorded_again(
    client: Client, failing: FailingLedger, key: dict[str, str]
) -> None:
    """It may be repeated because its record failed, or because there was no ledger."""
    user_id = await create_deleted_ada(client)
    failing.fails = {ERASED}
    await client.send(ERASE, input={"id": user_id, "confirmUsername": "byron", "reason": "x"} | key)
    assert failing.states() == [(BEGUN, 1)]
    failing.fails = set()
    before = await count(client.database)
    assert (await erase(client, user_id, reason="x", **key))["errors"] == []
    assert failing.states() == [(BEGUN, 1), (BEGUN, 1), (ERASED, 1)]
    assert await count(client.database) == before
    found = await failing.read()
    assert (len(found.erased), list(found.incomplete())) == (1, [])


async def failed(client: Client, user_id: str) -> dict[str, Any]:
    """Returns the answer to an erasure that must fail, without the position of the error."""
    given = {"id": user_id, "confirmUsername": "byron", "reason": "On request"}
    answer = await client.send(ERASE, input=given)
    [error] = answer["errors"]
    del error["locations"]
    return answer


async def test_erasure_fails_and_is_not_done_without_the_ledger(
    client: Client, failing: FailingLedger
) -> None:
    failing.fails = {BEGUN}
    user_id = await create_deleted_ada(client)
    before = await client.ask(READ, id=user_id), await count(client.database)
    assert await failed(client, user_id) == {
        "data": {"eraseUser": None},
        "errors": [
            {
                "message": f"{UNAVAILABLE} This write was not done. Try again in a moment.",
                "path": ["eraseUser"],
                "extensions": {"code": "ERASURE_LEDGER_UNAVAILABLE", "outcome": "NOT_DONE"},
            }
        ],
    }
    assert (await client.ask(READ, id=user_id), await count(client.database)) == before
    assert failing.entries == []
    assert (await client.create("mia"))["username"] == "mia"  # other writes do not need it


async def test_erasure_whose_second_entry_fails_says_that_it_was_done(
    client: Client, failing: FailingLedger
) -> None:
    failing.fails = {ERASED}
    user_id = await create_deleted_ada(client)
    assert await failed(client, user_id) == {
        "data": {"eraseUser": None},
        "errors": [
            {
                "message": f"{UNAVAILABLE} This write was done. Send it again, so that it is "
                "recorded.",
                "path": ["eraseUser"],
                "extensions": {"code": "ERASURE_LEDGER_UNAVAILABLE", "outcome": "DONE"},
            }
        ],
    }
    assert (await client.ask(READ, id=user_id))["erasedAt"] is not None
    found = await failing.read()
    assert [begun.row.user_id for begun in found.incomplete()] == [1]


async def test_erasure_that_the_database_rolls_back_is_dismissed(
    client: Client, failing: FailingLedger, dialect: str
) -> None:
    user_id = await create_deleted_ada(client)
    async with client.database.engine.begin() as connection:
        await connection.execute(text(_FAIL[dialect]))
        await connection.execute(text(_FAIL_AT_COMMIT[dialect]))
    answer = await failed(client, user_id)
    assert answer["errors"][0]["extensions"]["outcome"] == "NOT_DONE"
    assert (await client.ask(READ, id=user_id))["erasedAt"] is None
    assert failing.states() == [(BEGUN, 1), (DISMISSED, 1)]
    assert list((await failing.read()).incomplete()) == []


# COMMIT fails: by a deferred foreign key on SQLite, and by a deferred trigger on PostgreSQL.
_FAIL = {
    "sqlite": "CREATE TABLE broken (user_id integer REFERENCES users(id) "
    "DEFERRABLE INITIALLY DEFERRED)",
    "postgresql": "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RAISE EXCEPTION ''no''; END'",
}
_FAIL_AT_COMMIT = {
    "sqlite": "CREATE TRIGGER failing AFTER UPDATE ON users BEGIN "
    "INSERT INTO broken VALUES (-1); END",
    "postgresql": "CREATE CONSTRAINT TRIGGER failing AFTER UPDATE ON users "
    "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()",
}


class SlowLedger(FailingLedger):
    """A ledger whose first append takes until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.appending, self.released = asyncio.Event(), asyncio.Event()

    async def append(self, entries: Collection[Entry]) -> None:
        self.appending.set()
        await self.released.wait()
        await super().append(entries)


async def test_erasure_that_is_ended_while_the_ledger_is_written_is_dismissed(
    database_url: str,
) -> None:
    async with serving(Settings(database_url=database_url, mutation_timeout=1)) as client:
        user_id = await create_deleted_ada(client)
        ledger = SlowLedger()
        use_ledger(client, ledger)
        erasing = asyncio.create_task(failed(client, user_id))
        await ledger.appending.wait()
        locked = client.database.engine.sync_engine.pool.checkedout()  # type: ignore[attr-defined]
        assert locked == 1
        await wait_until(lambda: client.database.engine.sync_engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        ledger.released.set()
        answer = await erasing
        assert answer["errors"][0]["extensions"] == {"code": "TIMEOUT", "outcome": "NOT_DONE"}
        assert ledger.states() == [(BEGUN, 1), (DISMISSED, 1)]
        assert (await client.ask(READ, id=user_id))["erasedAt"] is None
