"""Migrations as SQL scripts, and databases that belong to a newer version."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from db import migrations
from db.models import SchemaCompatibility
from tests.conftest import opened, run_in
from tests.db.test_migrations import OLD_USER
from tests.db.test_migrations import run as alembic
from tests.support.postgres import client_program
from tests.support.process import http_client, run, serving_process, start

postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
NEWER = "9999"
CREATE = """mutation { createUser(input: {
  username: "ada", email: "ada@example.com", externalId: "hr-1"}) { errors { code } } }"""


async def script(url: str) -> str:
    code, output = await run("migrate", "--sql", ROSTER_DATABASE_URL=url)
    assert code == 0, output
    return output


def psql(url: str, sql: str) -> tuple[int, str]:
    """Return psql's exit code and error messages."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [client_program("psql"), "--no-psqlrc", "--quiet", "--file=-", url],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def dump(url: str) -> list[str]:
    """Return the schema as SQL, and the revision."""
    tables = ("alembic_version", "schema_compatibility")
    done = [
        subprocess.run(  # noqa: S603 - our own arguments
            [client_program("pg_dump"), *options, url], capture_output=True, text=True, check=True
        ).stdout
        for options in (["--schema-only"], ["--data-only", *(f"--table={t}" for t in tables)])
    ]
    # These lines have a random key.
    return [line for line in "".join(done).splitlines() if "restrict " not in line]


async def prepared(url: str, revision: str) -> None:
    """Migrate to an earlier revision, and add a user."""
    async with opened(url) as database:
        await alembic(database, "upgrade", revision)
    await run_in(url, OLD_USER)


@pytest.fixture
def migrated_dump(dialect: str, database_url: str) -> list[str]:
    assert dialect == "postgresql"
    return dump(database_url)


@postgresql
async def test_sql_script_creates_the_same_schema_as_migrations(
    empty_url: str, migrated_dump: list[str]
) -> None:
    assert psql(empty_url, await script(empty_url)) == (0, "")
    assert dump(empty_url) == migrated_dump
    code, output = await run("migrate", ROSTER_DATABASE_URL=empty_url)
    assert (code, f"is at revision {migrations.newest()}." in output) == (0, True)
    nothing = f"-- The database is at revision {migrations.newest()}. Nothing is pending.\n"
    assert await script(empty_url) == nothing
    async with (
        serving_process(None, ROSTER_DATABASE_URL=empty_url) as (_, url),
        http_client(url) as http,
    ):
        created = await http.post("/graphql", json={"query": CREATE})
        assert created.json() == {"data": {"createUser": {"errors": []}}}


@postgresql
async def test_sql_script_continues_at_the_revision_of_the_database(
    empty_url: str, migrated_dump: list[str]
) -> None:
    await prepared(empty_url, "0009")
    printed = await script(empty_url)
    assert psql(empty_url, printed) == (0, "")
    assert dump(empty_url) == migrated_dump
    code, errors = psql(empty_url, printed)
    assert (code, "ERROR:  the database was not at revision 0009" in errors) == (3, True)
    assert dump(empty_url) == migrated_dump


@postgresql
@pytest.mark.parametrize("program", ["psql", "another"])
async def test_sql_script_that_cannot_convert_rows_changes_nothing(
    empty_url: str, program: str
) -> None:
    await prepared(empty_url, "0006")
    printed = await script(empty_url)
    if program == "another":  # it continues after an error
        printed = printed.replace("\\set ON_ERROR_STOP on\n", "")
    code, errors = psql(empty_url, printed)
    assert code == (3 if program == "psql" else 0)
    assert "rows of users have to be converted: run `roster migrate` instead of this" in errors
    async with opened(empty_url) as database:
        assert await migrations.current(database) == "0006"
    code, output = await run("migrate", "--servers-stopped", ROSTER_DATABASE_URL=empty_url)
    assert code == 0, output


async def test_sqlite_has_no_sql_script(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    refused = "roster: --sql is for PostgreSQL. SQLite is migrated by `roster serve`\n"
    assert await run("migrate", "--sql", ROSTER_DATABASE_URL=url) == (1, refused)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - not in an async function


async def test_check_lists_what_is_pending_and_changes_nothing(
    empty_url: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": empty_url}
    code, output = await run("migrate", "--check", **settings)
    state, *pending = output.splitlines()
    assert (code, state.endswith(" is not set up yet. Pending:")) == (3, True)
    assert pending[0] == "  0001  Users and their events."
    assert len(pending) == len(migrations.pending(None))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - not in an async function
    await run("migrate", **settings)
    code, output = await run("migrate", "--check", **settings)
    ending = f" is at revision {migrations.newest()}. Nothing is pending.\n"
    assert (code, output.endswith(ending)) == (0, True)


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
