"""Revision 0007 finds the former external ids from before they were recorded."""

from typing import Any

from sqlalchemy import Boolean, DateTime, column, insert, select, table, text

from db.column_types import Json
from db.engine import Database
from db.identity_key import load
from db.models import FormerExternalId
from graph.auth.authenticator import Authenticator
from tests.conftest import opened
from tests.db.test_migrations import run
from tests.db.test_models import AT
from tests.graph.auth.test_authenticator import bearer, rejection_reason
from tests.support.signing import issuer

MANY = 1_100  # more than a batch of users
LATE = 200_000  # an id that is batches of events behind the others
MOMENTS = ("deleted_at", "status_changed_at", "created_at", "updated_at")
# The columns of revision 0006: the models may get other columns later.
USERS = table(
    "users",
    *(column(n) for n in ("id", "username", "username_key", "email", "email_key", "external_id")),
    *(column(name) for name in ("status", "version")),
    column("is_active", Boolean()),
    *(column(name, DateTime(timezone=True)) for name in MOMENTS),
)
EVENTS = table(
    "user_events",
    *(column(name) for name in ("id", "user_id", "type", "actor_kind", "version_after")),
    column("at", DateTime(timezone=True)),
    column("changes", Json),
)


def user(key: int, external_id: str | None, *, deleted: bool = False) -> dict[str, Any]:
    name, email = f"user{key}", f"user{key}@example.com"
    return {
        "id": key,
        "username": name,
        "username_key": name,
        "email": email,
        "email_key": email,
        "external_id": external_id,
        "status": "DELETED" if deleted else "ACTIVE",
        "is_active": not deleted,
        "version": 1,
        **dict.fromkeys(MOMENTS, AT),
        "deleted_at": AT if deleted else None,
    }


def event(key: int, user_id: int, *changes: dict[str, Any]) -> dict[str, Any]:
    about = {"type": "UPDATED", "actor_kind": "system", "version_after": key, "at": AT}
    return about | {"id": key, "user_id": user_id, "changes": list(changes)}


def link(before: str | None, after: str | None, **more: Any) -> dict[str, Any]:
    return {"field": "externalId", "before": before, "after": after} | more


async def fill(database: Database) -> None:
    misleading = {"field": "username", "before": None, "after": '"externalId"'}
    users = [
        user(1, "now-1"),
        user(2, None),
        user(3, None, deleted=True),  # and erased
        user(4, "now-4", deleted=True),
        user(5, "HR-5"),
        *(user(n, f"gone-{n}", deleted=True) for n in range(6, 6 + MANY)),
    ]
    events = [
        event(7, 1, link(None, "first-1")),
        event(8, 1, link("first-1", "now-1"), misleading),
        event(9, 2, misleading, link("given-2", None)),
        event(10, 3, link(None, None, redacted=True)),
        event(11, 4, link(None, "now-4")),
        event(LATE, 5, link("hr-5", "HR-5")),
    ]
    async with database.engine.begin() as connection:
        await connection.execute(insert(USERS), users)
        await connection.execute(insert(EVENTS), events)


async def records(database: Database) -> set[tuple[int, str]]:
    async with database.session() as session:
        rows = await session.execute(select(FormerExternalId.user_id, FormerExternalId.digest))
        found = [(user_id, digest) for user_id, digest in rows]
        assert len(set(found)) == len(found)
        return set(found)


async def expected(database: Database) -> set[tuple[int, str]]:
    async with database.session() as session:
        key = await load(session)
    ids = [(1, "first-1"), (2, "given-2"), (4, "now-4"), (5, "hr-5")]
    ids += [(n, f"gone-{n}") for n in range(6, 6 + MANY)]
    return {(user_id, key.digest(external_id)) for user_id, external_id in ids}


async def test_upgrade_records_former_external_ids_from_rows_and_events(empty_url: str) -> None:
    async with opened(empty_url) as database:
        await run(database, "upgrade", "0006")
        await fill(database)
        await run(database, "upgrade", "head")
        assert await records(database) == await expected(database)
        authenticator = Authenticator(database, [issuer()])
        for subject in ("first-1", "given-2", "now-4", "hr-5", f"gone-{5 + MANY}"):
            assert (
                await rejection_reason(authenticator, bearer(sub=subject))
                == "the subject was a user"
            )
        for subject, user_id in (("now-1", 1), ("HR-5", 5), ("sync", None)):
            caller = await authenticator.authenticate(bearer(sub=subject))
            assert caller is not None
            assert caller.user_id == user_id
        await authenticator.close()


async def test_second_upgrade_records_the_same_ids_with_another_key(empty_url: str) -> None:
    async with opened(empty_url) as database:
        await run(database, "upgrade", "0006")
        await fill(database)
        await run(database, "upgrade", "head")
        before = await records(database)
        await run(database, "downgrade", "0006")
        await run(database, "upgrade", "head")
        after = await records(database)
    assert len(after) == len(before)
    assert before.isdisjoint(after)


async def test_each_database_generates_its_own_identity_key(empty_url: str, twin_url: str) -> None:
    keys: list[str] = []
    for url in (empty_url, twin_url):
        async with opened(url) as database:
            await run(database, "upgrade", "head")
            async with database.engine.connect() as connection:
                keys += (await connection.execute(text("SELECT key FROM identity_keys"))).scalars()
    assert len(set(keys)) == 2
    assert [len(bytes.fromhex(key)) for key in keys] == [32, 32]
