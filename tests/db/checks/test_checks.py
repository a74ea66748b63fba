"""Checks in general, and those that both databases have."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from db import migrations
from db.checks import check as checking
from db.checks.check import Caution, Check, Failure, Finding, Status, run_checks
from db.checks.lists import FILE_CHECKS, SERVER_CHECKS
from db.engine import Database
from tests.conftest import opened
from tests.db.checks.inspection import inspect, with_status
from tests.support.client import count

WITHOUT_SERVER = {"postgresql": "postgresql://nobody@127.0.0.1:1/none", "sqlite": "sqlite:////no/a"}
INDEPENDENT = {"postgresql": {"direct-connection"}, "sqlite": {"version", "file-system"}}


async def fine(_: object) -> str:
    return "fine"


def failing(error: Exception) -> Callable[[object], Awaitable[str]]:
    async def fail(_: object) -> str:
        raise error

    return fail


async def test_check_is_not_run_if_one_that_it_needs_failed() -> None:
    checks = [
        Check("first", failing(Failure("broken", "repair it"))),
        Check("second", fine, ("first",)),
        Check("third", fine, ("second",)),
        Check("fourth", failing(Caution("risky"))),
        Check("fifth", fine, ("fourth", "absent")),
    ]
    assert await run_checks(checks, None) == [
        Finding("first", Status.FAILED, "broken", "repair it"),
        Finding("second", Status.NOT_CHECKED, "needs: first"),
        Finding("third", Status.NOT_CHECKED, "needs: second"),
        Finding("fourth", Status.WARNING, "risky"),
        Finding("fifth", Status.OK, "fine"),
    ]


async def test_error_of_the_database_is_a_finding_and_a_bug_is_raised() -> None:
    refused = Check("server", failing(ConnectionRefusedError("refused")), fix="start it")
    assert await run_checks([refused], None) == [
        Finding("server", Status.FAILED, "refused", "start it")
    ]
    with pytest.raises(ZeroDivisionError):
        await run_checks([Check("bug", failing(ZeroDivisionError()))], None)


async def test_check_without_an_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: object) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(checking, "SECONDS", 0.01)
    [found] = await run_checks([Check("slow", hang)], None)
    assert found.status is Status.FAILED
    assert found.detail == "no answer within 0.01 seconds"


def test_names_of_checks_are_unique_and_needed_ones_come_first() -> None:
    lists: tuple[tuple[Check[Any], ...], ...] = (SERVER_CHECKS, FILE_CHECKS)
    for checks in lists:
        names = [check.name for check in checks]
        assert len(set(names)) == len(names)
        for number, check in enumerate(checks):
            assert set(check.needs) <= set(names[:number])


async def test_no_check_of_a_migrated_database_fails(database: Database, database_url: str) -> None:
    before = await count(database)
    found = await inspect(database_url)
    assert with_status(found, Status.FAILED, Status.NOT_CHECKED) == set()
    # The server of the tests runs without fsync, and nothing has set the limit of its database.
    assert with_status(found, Status.WARNING) <= {"durability", "idle-limit", "disk-space"}
    assert found["revision"].detail == f"{migrations.newest()}, the newest"
    assert await count(database) == before


async def test_checks_of_an_unreachable_database_are_not_run(dialect: str) -> None:
    found = await inspect(WITHOUT_SERVER[dialect])
    assert found["connection"].status is Status.FAILED
    assert found["connection"].fix
    independent = {"connection"} | INDEPENDENT[dialect]
    assert with_status(found, Status.NOT_CHECKED) == set(found) - independent
    assert with_status(found, Status.OK) == INDEPENDENT[dialect]


async def test_revision_of_an_empty_database_fails(empty_url: str, dialect: str) -> None:
    if dialect == "sqlite":
        async with opened(empty_url) as database, database.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE other (id int)"))
    found = await inspect(empty_url)
    assert found["revision"] == Finding(
        "revision", Status.FAILED, "the database is not set up yet", "run `roster migrate`"
    )
    assert found["identity-key"].status is Status.NOT_CHECKED


@pytest.mark.parametrize(
    ("stored", "status", "said"),
    [
        ("0008", Status.FAILED, f"revision 0008, and this version needs {migrations.newest()}"),
        ("9999", Status.OK, "9999, of a newer version that this one is compatible with"),
    ],
)
async def test_other_revisions_are_reported(
    database: Database, database_url: str, stored: str, status: Status, said: str
) -> None:
    async with database.engine.begin() as connection:
        changed = text("UPDATE alembic_version SET version_num = :stored")
        await connection.execute(changed, {"stored": stored})
    found = (await inspect(database_url))["revision"]
    assert (found.status, found.detail) == (status, said)


async def test_incompatible_newer_revision_fails(database: Database, database_url: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await connection.execute(
            text("UPDATE schema_compatibility SET min_compatible_revision = '9998'")
        )
    found = (await inspect(database_url))["revision"]
    assert (found.status, found.fix) == (Status.FAILED, "install the newer version")


async def test_missing_or_new_identity_secret_fails(database_url: str) -> None:
    secret = b"x" * 32
    found = (await inspect(database_url, identity_secret=secret))["identity-key"]
    assert found.status is Status.FAILED
    assert "new to the database" in found.detail
    async with opened(database_url, identity_secret=secret) as database:
        await migrations.upgrade(database)
    found = (await inspect(database_url))["identity-key"]
    assert found.status is Status.FAILED
    assert "must be set" in found.detail
    assert (await inspect(database_url, identity_secret=secret))["identity-key"].status is Status.OK
