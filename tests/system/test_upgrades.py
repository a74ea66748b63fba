"""Two releases on one database: the code of this release on the schema of the next one."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import inspect

from db import migrations
from db.engine import Database
from tests.conftest import opened
from tests.support.load import Load
from tests.support.process import http_client, run, serving_process
from tests.support.releases import additive, breaking, imported_from
from tests.system.test_migrations import fill

CLIENTS = 6


async def revision_of(url: str) -> str | None:
    async with opened(url) as database:
        return await migrations.current(database)


async def columns_of(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        found = await connection.run_sync(lambda sync: inspect(sync).get_columns("users"))
    return {column["name"] for column in found}


async def test_no_request_fails_while_the_next_release_migrates_and_takes_over(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url)
    release = additive(tmp_path / "next")
    assert imported_from(release) == f"{tmp_path}/next/db/__init__.py"
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url}
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving_process(**settings)) for _ in range(2)]
        (old, first), (_, second) = served
        load = Load(first, second)
        async with load.running(CLIENTS):
            await load.more(60)
            code, output = await run("migrate", **settings, **release.settings)
            assert (code, output.splitlines()[-1].endswith(f"revision {release.newest}.")) == (
                0,
                True,
            )
            await load.more(60)
            newer = serving_process(**settings, **release.settings)
            _, third = await stack.enter_async_context(newer)
            load.urls.append(third)
            await load.more(120)
            await load.leave(first)
            old.terminate()
            await old.communicate()
            await load.more(60)
    assert load.failures == {}
    async with opened(database_url) as database:
        assert await load.lost(database) == []
        assert "nickname" in await columns_of(database)


async def test_this_release_starts_on_the_schema_of_a_compatible_release(
    database_url: str, tmp_path: Path
) -> None:
    release = additive(tmp_path / "next")
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url}
    code, listed = await run("migrate", "--check", **settings, **release.settings)
    added = [int(release.newest) - 2 + n for n in range(3)]
    titles = ("A column.", "An index.", "A check.")
    expected = [f"  {n:04}  {title}" for n, title in zip(added, titles, strict=True)]
    assert (code, listed.splitlines()[1:]) == (3, expected)
    assert await run("migrate", **settings, **release.settings)
    code, output = await run("migrate", "--check", **settings)
    assert code == 0
    assert f"is at revision {release.newest}, of a newer version that this one is" in output
    async with serving_process(**settings) as (_, url), http_client(url) as http:
        assert (await http.get("/health/ready")).status_code == 200


async def test_incompatible_migration_is_applied_only_without_servers(
    database_url: str, tmp_path: Path
) -> None:
    release = breaking(tmp_path / "next")
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": database_url}
    refused = (
        "roster: servers of the running version cannot use the database after migration "
        f"{release.newest}: stop all servers, and add --servers-stopped\n"
    )
    assert await run("migrate", **settings, **release.settings) == (1, refused)
    assert await revision_of(database_url) == migrations.newest()
    code, output = await run("migrate", "--servers-stopped", **settings, **release.settings)
    assert code == 0, output
    too_old = (
        "roster: the database belongs to a newer version of Roster: it is at revision "
        f"{release.newest}, and this version knows revisions up to {migrations.newest()}. "
        "Install that version\n"
    )
    for command in (("serve",), ("migrate",), ("migrate", "--check")):
        assert await run(*command, **settings) == (1, too_old)
    async with (
        serving_process(**settings, **release.settings) as (_, url),
        http_client(url) as http,
    ):
        assert (await http.get("/health/ready")).status_code == 200
