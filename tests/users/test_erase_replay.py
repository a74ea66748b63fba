"""Erasing again what a restore has brought back: only the same rows, and completely."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update

from db.engine import Database
from db.erasure_ledger.entries import Entry, RowIdentity, State
from db.models import User
from tests.graph.api.test_erase_user import (
    EVENTS,
    PERSONAL,
    READ,
    all_stored_text,
    create_deleted_ada,
    erase,
)
from tests.support.client import Client, count
from tests.support.ledgers import AT, FailingLedger
from users import erase_replay
from users.erase_replay import compare, complete_ledger, replay
from users.erasures import entries

BEGUN, ERASED = State.BEGUN, State.ERASED


async def identities(database: Database, *ids: int) -> list[RowIdentity]:
    async with database.session() as session:
        users = await session.scalars(select(User).where(User.id.in_(ids)).order_by(User.id))
        return [RowIdentity.of(user) for user in users]


async def ledger_of(database: Database, *ids: int) -> FailingLedger:
    """Returns a ledger that has these users as erased."""
    ledger = FailingLedger()
    await ledger.append(entries(ERASED, await identities(database, *ids), AT))
    return ledger


async def erased_ids(database: Database) -> list[int]:
    async with database.session() as session:
        found = select(User.id).where(User.erased_at.is_not(None)).order_by(User.id)
        return list(await session.scalars(found))


async def test_deleted_user_is_erased_again_with_an_event(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    ledger = await ledger_of(client.database, 1)
    found = await replay(client.database, ledger)
    assert [row.user_id for row in found.not_erased] == [1]
    stored = await all_stored_text(client.database)
    assert [word for word in PERSONAL if word in stored] == []
    events = (await client.ask(EVENTS, filter={"userId": [user_id]}))["nodes"]
    assert [e["type"] for e in events] == ["CREATED", "UPDATED", "DEACTIVATED", "DELETED", "ERASED"]
    assert events[-1]["reason"] == "Erased before a restore of the database."
    assert (await client.events(user_id))[-1]["actor"] == {
        "kind": "system",
        "id": None,
        "label": "roster erase-replay",
    }


@pytest.mark.parametrize("last", ["restoreUser", "reactivateUser"])
async def test_user_who_was_not_deleted_at_the_time_of_the_backup_is_deleted_and_erased(
    client: Client, last: str
) -> None:
    user_id = await create_deleted_ada(client)
    await client.mutate("restoreUser", user_id, reason="No illness")
    if last == "reactivateUser":
        await client.mutate("reactivateUser", user_id, reason="No illness")
    await replay(client.database, await ledger_of(client.database, 1))
    stored = await all_stored_text(client.database)
    assert [word for word in PERSONAL if word in stored] == []
    user = await client.ask(READ, id=user_id)
    assert (user["username"], user["status"]) == ("erased-1", "DELETED")
    events = (await client.ask(EVENTS, filter={"userId": [user_id]}))["nodes"]
    assert [e["type"] for e in events[-2:]] == ["DELETED", "ERASED"]
    assert all(c["redacted"] for e in events for c in e["changes"] if c["field"] == "statusReason")


async def test_repeated_replay_changes_nothing(client: Client) -> None:
    for name in ("mia", "ada", "bob"):
        await client.create(name)
    ledger = await ledger_of(client.database, 1, 3)
    assert len((await replay(client.database, ledger)).not_erased) == 2
    before, stored = await count(client.database), await all_stored_text(client.database)
    again = await replay(client.database, ledger)
    assert (again.not_erased, again.erased, again.absent, again.missing) == ([], 2, 0, [])
    assert (await count(client.database), await all_stored_text(client.database)) == (
        before,
        stored,
    )
    assert await erased_ids(client.database) == [1, 3]
    assert ledger.states() == [(ERASED, 1), (ERASED, 3)]  # it does not grow


async def test_user_with_the_id_of_an_erased_user_is_not_erased(client: Client) -> None:
    """The id was assigned again after a restore of an older backup."""
    for name in ("mia", "ada", "bob", "eve"):
        await client.create(name)
    database = client.database
    [mia, ada, bob, eve] = await identities(database, 1, 2, 3, 4)
    others = [
        RowIdentity(1, mia.created_at, uuid4()),
        RowIdentity(2, AT, ada.random_id),
        RowIdentity(3, bob.created_at, None),  # of a user from before random ids
        RowIdentity(5, eve.created_at, eve.random_id),
    ]
    ledger = FailingLedger()
    await ledger.append(entries(ERASED, others, AT))
    before = await count(database), await all_stored_text(database)
    found = await replay(database, ledger)
    assert (found.not_erased, found.absent) == ([], 4)
    assert (await count(database), await all_stored_text(database)) == before


async def test_user_from_before_random_ids_is_identified_by_creation_time(client: Client) -> None:
    for name in ("mia", "ada"):
        await client.create(name)
    async with client.database.engine.begin() as connection:
        await connection.execute(update(User).values(random_id=None))
    [mia, ada] = await identities(client.database, 1, 2)
    assert mia.random_id is ada.random_id is None
    ledger = FailingLedger()
    rows = [mia, RowIdentity(2, AT, None)]
    await ledger.append(entries(ERASED, rows, AT))
    await replay(client.database, ledger)
    assert await erased_ids(client.database) == [1]


@asynccontextmanager
async def interrupted_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> AsyncIterator[None]:
    erase_again = erase_replay._erase_again  # noqa: SLF001 - a crash between two batches
    done = 0

    async def crash(*arguments: Any) -> None:
        nonlocal done
        if done == batches:
            raise KeyError("crash")
        done += 1
        await erase_again(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(erase_replay, "_erase_again", crash)
        with pytest.raises(KeyError, match="crash"):
            yield


async def test_interrupted_replay_is_continued(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        await client.create(f"user{number}")
    ledger = await ledger_of(client.database, *range(1, 111))
    async with interrupted_after(monkeypatch, 1):
        await replay(client.database, ledger)
    assert await erased_ids(client.database) == list(range(1, 51))
    found = await replay(client.database, ledger)
    assert (found.erased, len(found.not_erased)) == (50, 60)
    assert await erased_ids(client.database) == list(range(1, 111))
    assert await count(client.database) == (120, 120 + 2 * 110)


async def test_erasures_of_the_database_are_added_to_the_ledger(client: Client) -> None:
    """Those from before there was a ledger, and those whose second entry was lost by a crash."""
    user_id = await create_deleted_ada(client)
    await client.create("mia")
    [ada] = await identities(client.database, 1)
    ledger = FailingLedger()
    await ledger.append(entries(BEGUN, [ada], datetime.now(UTC)))
    await erase(client, user_id)
    found = await complete_ledger(client.database, ledger)
    assert (found.missing, found.incomplete, found.not_erased) == ([ada], [], [])
    assert ledger.states() == [(BEGUN, 1), (ERASED, 1)]
    again = await complete_ledger(client.database, ledger)
    assert (again.missing, again.erased) == ([], 1)
    assert len(ledger.entries) == 2


async def test_incomplete_erasure_is_reported_and_not_done(client: Client) -> None:
    for name in ("mia", "ada"):
        await client.create(name)
    rows = await identities(client.database, 1)
    ledger = FailingLedger()
    await ledger.append(entries(BEGUN, [*rows, RowIdentity(9, AT, None)], AT))
    before = await all_stored_text(client.database)
    found = await replay(client.database, ledger)
    assert [entry.row for entry in found.incomplete] == rows
    assert await all_stored_text(client.database) == before


class CompletingLedger(FailingLedger):
    """Completes its erasures after some reads, as a server does that was about to."""

    def __init__(self, begun: Sequence[Entry]) -> None:
        super().__init__()
        self.entries = list(begun)
        self.reads = 0

    async def read(self) -> Any:
        self.reads += 1
        if self.reads == 3:
            self.entries += [Entry(ERASED, e.erasure, e.row, e.at) for e in self.entries]
        return await super().read()


async def test_erasure_that_is_completed_in_the_ledger_during_the_replay_is_replayed(
    client: Client,
) -> None:
    await client.create("mia")
    rows = await identities(client.database, 1)
    ledger = CompletingLedger(entries(BEGUN, rows, datetime.now(UTC)))
    found = await replay(client.database, ledger)
    assert (found.incomplete, found.not_erased) == ([], rows)
    assert ledger.reads == 3
    assert await erased_ids(client.database) == [1]


async def test_comparison_changes_nothing(client: Client) -> None:
    user_id = await create_deleted_ada(client)
    await client.create("mia")
    ledger = await ledger_of(client.database, 2)
    await erase(client, user_id)
    before = await all_stored_text(client.database)
    found = await compare(client.database, ledger)
    assert [row.user_id for row in found.not_erased] == [2]
    assert [row.user_id for row in found.missing] == [1]
    assert await all_stored_text(client.database) == before
    assert len(ledger.entries) == 1


async def test_random_ids_differ_and_are_assigned_by_the_database(
    client: Client, dialect: str
) -> None:
    async with client.database.engine.begin() as connection:
        names = ["random_id"] if dialect == "postgresql" else []
        for number in range(3):
            await client.create(f"user{number}")
        if names:  # the previous version of Roster does not know the column
            columns = "username, username_key, email, email_key, is_active, status, version"
            times = "status_changed_at, created_at, updated_at"
            await connection.execute(
                text(
                    f"INSERT INTO users ({columns}, {times}) VALUES "  # noqa: S608
                    "('x', 'x', 'x@b', 'x@b', true, 'ACTIVE', 1, now(), now(), now())"
                )
            )
    found = await identities(client.database, 1, 2, 3, 4)
    random_ids = {row.random_id for row in found}
    assert None not in random_ids
    assert len(random_ids) == 4 if names else 3


async def remains(client: Client) -> list[Any]:
    """Returns what is left of the first user, apart from times, versions and random values."""
    users = "SELECT username, username_key, email, email_key, display_name, display_name_key, "
    users += "external_id, external_id_key, status, status_reason, erase_after FROM users"
    events = "SELECT type, changes FROM user_events WHERE user_id = 1 ORDER BY id"
    former = "SELECT user_id, released_at, length(digest) FROM former_external_ids ORDER BY id"
    keys = "SELECT answer FROM idempotency_keys"
    async with client.database.engine.connect() as connection:
        return [
            [tuple(row) for row in await connection.execute(text(statement))]
            for statement in (users, events, former, keys)
        ]


async def test_replay_removes_what_an_erasure_removes(client: Client, twin: Client) -> None:
    for one in (client, twin):
        user_id = await create_deleted_ada(one)
        await one.mutate("restoreUser", user_id)
        await one.mutate("updateUser", user_id, externalId="hr-1816")
    await replay(client.database, await ledger_of(client.database, 1))
    await twin.mutate("deleteUser", user_id)
    await erase(twin, user_id)
    replayed, erased = await remains(client), await remains(twin)
    assert len(replayed[2]) == 2  # both external ids
    assert replayed == erased
