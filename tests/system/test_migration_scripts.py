"""Migrations as SQL scripts, and databases that belong to a newer version."""

import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text, update

from db import migrations
from db.models import SchemaCompatibility
from tests.conftest import opened
from tests.db.test_migrations import expected_names, names
from tests.support.client import Client
from tests.support.process import http_client, run, serving_process, start

postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
ALEMBIC = Path(sys.executable).parent / "alembic"
ROOT = Path(__file__).parents[2]
NEWER = "9999"


async def script(revisions: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROSTER_")}
    command = (ALEMBIC, "upgrade", revisions, "--sql")
    process = await create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=environment
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@postgresql
async def test_sql_script_creates_the_same_schema_as_migrations(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    await connection.execute(await script("head"))
    await connection.close()
    async with opened(empty_url) as database:
        assert await migrations.current(database) == migrations.newest()
        async with database.engine.connect() as checked:
            assert await checked.run_sync(names) == expected_names("postgresql")
    code, output = await run("migrate", ROSTER_DATABASE_URL=empty_url)
    assert (code, f"is at revision {migrations.newest()}." in output) == (0, True)
    async with (
        serving_process(None, ROSTER_DATABASE_URL=empty_url) as (_, url),
        http_client(url) as http,
    ):
        created = await http.post("/graphql", json={"query": CREATE})
        assert created.json() == {"data": {"createUser": {"errors": []}}}


CREATE = """mutation { createUser(input: {
  username: "ada", email: "ada@example.com", externalId: "hr-1"}) { errors { code } } }"""


@postgresql
async def test_sql_script_that_cannot_convert_rows_changes_nothing(client: Client) -> None:
    await client.create("ada")
    url = client.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    with pytest.raises(asyncpg.RaiseError, match="run `roster migrate` instead of this script"):
        await connection.execute(NO_TABLES + await script("0006:0007"))
    await connection.execute("ROLLBACK")
    assert await connection.fetchval("SELECT count(*) FROM identity_keys") == 1
    await connection.close()


# Removes objects so that the script reaches the conversion of rows.
NO_TABLES = "BEGIN; DROP TABLE former_external_ids, identity_keys; DROP INDEX "
NO_TABLES += "ix_users_external_id_of_deleted;"


@pytest.mark.parametrize("oldest", ["own", "newer", "none"])
async def test_newer_database_is_used_only_if_it_declares_compatibility(
    database_url: str, oldest: str
) -> None:
    async with opened(database_url) as database, database.engine.begin() as connection:
        if oldest == "none":
            await connection.execute(text("DROP TABLE schema_compatibility"))
        elif oldest == "newer":
            await connection.execute(
                update(SchemaCompatibility).values(min_compatible_revision=NEWER)
            )
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{NEWER}'"))  # noqa: S608
    settings = {"ROSTER_DATABASE_URL": database_url}
    code, migrated = await run("migrate", cwd=None, **settings)
    if oldest == "own":
        assert code == 0
        assert f"is at revision {NEWER}, of a newer version that this one is compat" in migrated
        async with serving_process(None, **settings) as (_, url), http_client(url) as http:
            assert (await http.get("/health/ready")).status_code == 200
        return
    expected = (
        f"roster: the database belongs to a newer version of Roster: it is at revision {NEWER}, "
        f"and this version knows revisions up to {migrations.newest()}. Install that version\n"
    )
    assert (code, migrated) == (1, expected)
    process = await start("serve", cwd=None, **settings)
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (1, expected)
