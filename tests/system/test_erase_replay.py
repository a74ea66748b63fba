"""Erasures survive the restore of a backup: 1,000 users, of whom 50 are erased after the backup."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from tests.conftest import opened
from tests.support.cursors import cursor_at
from tests.support.feed import committed_ids
from tests.support.process import run, serving_process
from tests.system.test_restores import (
    SETTINGS,
    Cluster,
    assert_rejected,
    cluster,
    post,
    query,
    replace_database,
)

__all__ = ["cluster"]  # a fixture

BULK = "mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { succeeded } }"
ERASE = """mutation ($id: ID!, $name: String!) {
  eraseUser(input: {id: $id, confirmUsername: $name, reason: "On request"}) {
    erasedUserId errors { message } } }"""
IDS = """query ($after: String) { users(first: 100, after: $after,
  filter: {status: [ACTIVE, DEACTIVATED, DELETED]}) {
  nodes { id username } pageInfo { endCursor hasNextPage } } }"""
ERASED: Final = {f"user{n}" for n in range(100, 150)}


async def create(url: str, name: str, count: int) -> None:
    for start in range(0, count, 100):
        users = [
            {
                "username": f"{name}{n}",
                "email": f"{name}{n}@private.example",
                "displayName": f"Person {name}{n}",
                "externalId": f"hr-{name}{n}",
            }
            for n in range(start, min(start + 100, count))
        ]
        done = await post(url, BULK, input={"operations": [{"create": user} for user in users]})
        assert done["data"]["bulkUsers"]["succeeded"] == len(users)


async def ids_by_name(url: str) -> dict[str, str]:
    found: dict[str, str] = {}
    after = None
    while True:
        page = (await post(url, IDS, after=after))["data"]["users"]
        found |= {node["username"]: node["id"] for node in page["nodes"]}
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


async def delete(url: str, names: set[str]) -> None:
    ids = await ids_by_name(url)
    operations = [{"delete": {"id": ids[name], "reason": f"{name} is ill"}} for name in names]
    done = await post(url, BULK, input={"operations": operations})
    assert done["data"]["bulkUsers"]["succeeded"] == len(names)


async def erase(url: str, names: set[str]) -> None:
    ids = await ids_by_name(url)
    for name in sorted(names):
        done = await post(url, ERASE, id=ids[name], name=name)
        assert done == {"data": {"eraseUser": {"erasedUserId": ids[name], "errors": []}}}


async def rows(database_url: str) -> dict[int, list[Any]]:
    """Returns all that is stored about each user, by id."""
    found: dict[int, list[Any]] = {}
    async with opened(database_url) as database, database.engine.connect() as connection:
        for row in await connection.execute(text("SELECT * FROM users ORDER BY id")):
            found[row.id] = [tuple(row)]
        for row in await connection.execute(text("SELECT * FROM user_events ORDER BY id")):
            found[row.user_id].append(tuple(row)[1:])
    return found


class Directory:
    """A directory whose backup is restored while its ledger of erasures is kept."""

    def __init__(self, database_url: str, ledger: str) -> None:
        self.database_url = database_url
        self.settings: dict[str, Any] = {
            "ROSTER_DATABASE_URL": database_url,
            "ROSTER_ERASURE_LEDGER": ledger,
        }
        self.cursors: list[str] = []
        self.before: dict[int, list[Any]] = {}
        self.erased_ids: set[int] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving_process(**self.settings) as (_, url):
            yield url

    async def prepare(self, back_up: Callable[[], Awaitable[None]]) -> None:
        async with self.serving() as url:
            await create(url, "user", 1000)
            early = {f"user{n}" for n in range(5)}
            await delete(url, early)
            await erase(url, early)
            await delete(url, {f"user{n}" for n in range(100, 110)})
            await back_up()
            self.before = await rows(self.database_url)
            await delete(url, {f"user{n}" for n in range(110, 150)})
            await erase(url, ERASED)
            await create(url, "late", 20)
            late = {f"late{n}" for n in range(10)}
            await delete(url, late)
            await erase(url, late)
            async with opened(self.database_url) as database:
                last = (await committed_ids(database))[-1]
                self.cursors = [await cursor_at(database, id_) for id_ in (1, 1000, last)]

    async def check(self) -> None:
        """Asserts the state after the restore, and that new users are safe from another replay."""
        await self.check_users()
        async with self.serving() as url:
            for cursor in self.cursors:
                await assert_rejected(url, cursor)
            await create(url, "new", 20)  # with the ids of users who were erased
            new = await ids_by_name(url)
        code, output = await run("erase-replay", **self.settings)
        assert (code, output) == (0, self.summary(erased_again=0, erased=55))
        await self.check_users()
        assert {f"new{n}" for n in range(20)} < set(new)

    async def check_users(self) -> None:
        after = await rows(self.database_url)
        erased = {user_id for user_id, [user, *_] in after.items() if f"erased-{user_id}" in user}
        expected = {n + 1 for n in (*range(5), *range(100, 150))}
        assert erased == expected
        gone = expected - set(range(1, 6))
        assert {i: row for i, row in after.items() if i in self.before and i not in gone} == {
            i: row for i, row in self.before.items() if i not in gone
        }
        for user_id in gone:
            stored = json.dumps(after[user_id], default=str)
            assert f"user{user_id - 1}" not in stored
            assert "is ill" not in stored

    def summary(self, *, erased_again: int, erased: int) -> str:
        return (
            f"Erased {erased_again} users again in {self.name()}. Of the others in the ledger, "
            f"{erased} were erased already and 10 are not in this database.\n"
        )

    def name(self) -> str:
        path = self.database_url.removeprefix("sqlite:///")
        if path != self.database_url:
            return f"SQLite {path}"
        host = self.database_url.partition("host=")[2]
        return f"PostgreSQL postgres on {host}"


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_restored_sqlite_backup_has_no_erased_user(
    database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    directory, backup = Directory(database_url, erasure_ledger), tmp_path / "backup.db"

    async def back_up() -> None:
        assert (await run("backup", str(backup), **directory.settings))[0] == 0

    await directory.prepare(back_up)
    async with directory.serving():
        code, output = await run("restore", str(backup), "--yes", **directory.settings)
    assert (code, output) == (
        0,
        f"Replaced {directory.name()} by {backup}.\n"
        + directory.summary(erased_again=50, erased=5),
    )
    await directory.check()


async def after_restore(directory: Directory) -> None:
    code, output = await run("after-restore", "--yes", **directory.settings)
    assert (code, output) == (
        0,
        "Started epoch 2 of the feed.\n" + directory.summary(erased_again=50, erased=5),
    )


@pytest.mark.parametrize("erasure_ledger", ["postgresql-ledger"], indirect=True)
async def test_restored_postgresql_dump_has_no_erased_user(
    cluster: Cluster, erasure_ledger: str
) -> None:
    server, directory = await cluster.begin(), Directory(cluster.url, erasure_ledger)
    dump = server.home / "roster.dump"

    async def back_up() -> None:
        server.dump("postgres", dump)

    await directory.prepare(back_up)
    await replace_database(server, dump)
    await after_restore(directory)
    await directory.check()


@pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)
async def test_recovered_base_backup_has_no_erased_user(
    cluster: Cluster, erasure_ledger: str
) -> None:
    primary, directory = await cluster.begin(), Directory(cluster.url, erasure_ledger)
    recovered = cluster.add("recovered")

    async def back_up() -> None:
        recovered.copy(primary)
        await query(primary, "SELECT pg_create_restore_point('good')")

    await directory.prepare(back_up)
    primary.stop()
    recovered.recover_to("good", wal=primary.data / "pg_wal")
    recovered.start(SETTINGS)
    cluster.point_to(recovered)
    await after_restore(directory)
    await directory.check()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("erasure_ledger", ["file-ledger"], indirect=True)
async def test_users_who_are_erased_during_a_restore_are_erased_in_the_result(
    database_url: str, erasure_ledger: str, tmp_path: Path
) -> None:
    directory, backup = Directory(database_url, erasure_ledger), tmp_path / "backup.db"
    names = [f"user{n}" for n in range(100)]
    async with directory.serving() as url:
        await create(url, "user", 100)
        await delete(url, set(names))
        await run("backup", str(backup), **directory.settings)
        ids = await ids_by_name(url)
        acknowledged: list[str] = []

        async def erase_all() -> None:
            for name in itertools.cycle(names):  # also those whose erasure the restore undoes
                done = await post(url, ERASE, id=ids[name], name=name)
                payload = done["data"]["eraseUser"]
                if payload and not payload["errors"]:
                    acknowledged.append(name)

        erasing = asyncio.create_task(erase_all())
        for _ in range(3):
            before = len(acknowledged)
            code, output = await run("restore", str(backup), "--yes", **directory.settings)
            assert code == 0, output
            while len(acknowledged) == before:
                assert not erasing.done()
                await asyncio.sleep(0)
            kept = set(acknowledged)
            assert kept & set(await ids_by_name(url)) == set()
        erasing.cancel()
        await asyncio.gather(erasing, return_exceptions=True)
