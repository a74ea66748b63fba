"""Checks of PostgreSQL: each finds its problem, and leaves nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from db.checks import server
from db.checks.check import Finding, Status
from db.pooling import Pooling
from tests.conftest import administer, run_in, temporary_role
from tests.db.checks.inspection import inspect, with_status

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


def name_of(url: str) -> str:
    return str(make_url(url).database)


@asynccontextmanager
async def altered(url: str, *settings: str) -> AsyncIterator[dict[str, Finding]]:
    """Yields the findings of a database with settings of its own."""
    for setting in settings:
        await asyncio.to_thread(administer, f"ALTER DATABASE {name_of(url)} SET {setting}")
    yield await inspect(url)


@pytest.fixture
def role() -> Iterator[str]:
    with temporary_role() as name:
        yield name


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string()


async def test_checks_leave_no_locks_rows_or_sessions(database_url: str) -> None:
    await inspect(database_url)
    watching = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(60):
            while await watching.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            ):
                pass  # a closed session ends a moment later
        assert await watching.fetch("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == []
    finally:
        await watching.close()


async def test_notification_and_lock_are_tried(database_url: str) -> None:
    found = await inspect(database_url)
    assert found["pooler"].detail == "there is none"
    assert found["listen"].detail.startswith("a notification arrived after ")
    assert found["advisory-lock"].detail == "a lock was taken, respected and released"
    assert found["prepared-statements"].detail == "named statements work"
    assert found["pg-trgm"].detail == "the extension pg_trgm works"


async def test_direct_url_of_another_database_fails(database_url: str, twin_url: str) -> None:
    found = await inspect(database_url, twin_url)
    assert found["pooler"].status is Status.FAILED
    assert "leads to another database" in found["pooler"].detail
    assert found["listen"].status is Status.NOT_CHECKED


async def test_notifications_and_locks_of_another_database_are_noticed(
    database_url: str, twin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the checks themselves say, without the one that compares the databases first."""

    async def fine(*_: object) -> Pooling:
        return Pooling.DIRECT

    monkeypatch.setattr(server, "_HEARD_SECONDS", 0.2)
    monkeypatch.setattr(server, "check_urls", fine)
    found = await inspect(database_url, twin_url)
    assert with_status(found, Status.FAILED) == {"listen", "advisory-lock"}
    assert "did not arrive" in found["listen"].detail
    assert "leads to another database" in found["advisory-lock"].detail


async def test_read_only_server_fails(database_url: str) -> None:
    async with altered(database_url, "default_transaction_read_only = on") as found:
        assert found["primary"].status is Status.FAILED
        assert found["primary"].detail == "transactions are read-only"
        assert found["listen"].status is Status.NOT_CHECKED


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, Status.OK), (10, Status.WARNING), (-10, Status.WARNING), (100, Status.FAILED)],
)
async def test_difference_of_the_clocks_is_reported(
    database_url: str, monkeypatch: pytest.MonkeyPatch, seconds: int, status: Status
) -> None:
    class Clock:
        @staticmethod
        def now(_: Any) -> datetime:
            return datetime.now(UTC) - timedelta(seconds=seconds)

    monkeypatch.setattr(server, "datetime", Clock)
    found = (await inspect(database_url))["clock"]
    assert found.status is status
    if seconds:
        assert found.detail == (
            f"the server's clock is {abs(seconds)}.0 s {'ahead' if seconds > 0 else 'behind'}"
        )


async def test_missing_extension_fails(database_url: str) -> None:
    await run_in(database_url, "DROP EXTENSION pg_trgm CASCADE")
    found = (await inspect(database_url))["pg-trgm"]
    assert (found.status, found.fix) == (Status.FAILED, "run `roster migrate`")


async def test_extension_outside_of_the_search_path_fails(database_url: str) -> None:
    await run_in(
        database_url, "CREATE SCHEMA elsewhere", "ALTER EXTENSION pg_trgm SET SCHEMA elsewhere"
    )
    found = (await inspect(database_url))["pg-trgm"]
    assert (found.status, found.detail) == (
        Status.FAILED,
        "the extension pg_trgm is in a schema that is not in the search_path",
    )


async def test_missing_privileges_fail_until_they_are_granted(database_url: str, role: str) -> None:
    url = as_role(database_url, role)
    found = await inspect(url)
    assert found["privileges"].status is Status.FAILED
    assert "SELECT on users" in found["privileges"].detail
    assert "USAGE on public.users_id_seq" in found["privileges"].detail
    assert found["migration-privileges"].status is Status.WARNING
    assert found["revision"].status is Status.FAILED
    assert found["privileges"].fix
    await run_in(database_url, found["privileges"].fix.removeprefix("as the owner: "))
    found = await inspect(url)
    assert found["privileges"].status is Status.OK
    assert with_status(found, Status.FAILED) == set()
    assert found["migration-privileges"].status is Status.WARNING
    found = await inspect(url, database_url)
    assert found["migration-privileges"].status is Status.OK
    await run_in(database_url, f"DROP OWNED BY {role}")


async def test_limits_of_connections_are_compared(database_url: str, role: str) -> None:
    administer_role = f"ALTER ROLE {role} CONNECTION LIMIT 12"
    await run_in(database_url, administer_role)
    url = as_role(database_url, role)
    found = (await inspect(url, pool_size=9))["connections"]
    assert found.status is Status.OK
    assert found.detail.startswith("up to 12 connections (1 x 12) for each machine; ")
    found = (await inspect(url, pool_size=10))["connections"]
    assert (found.status, found.detail) == (
        Status.FAILED,
        "up to 13 connections (1 x 13), and PostgreSQL allows 12",
    )


async def test_settings_that_lose_data_fail_in_production(database_url: str) -> None:
    found = (await inspect(database_url, production=True))["durability"]
    assert (found.status, found.detail) == (
        Status.FAILED,
        "fsync, full_page_writes, synchronous_commit: off. A crash can destroy the database",
    )
    found = (await inspect(database_url))["durability"]
    assert found.status is Status.WARNING


async def test_limit_of_idle_transactions_is_reported(database_url: str) -> None:
    found = (await inspect(database_url))["idle-limit"]
    assert found.status is Status.WARNING
    assert "idle transactions of other programs have no limit" in found.detail
    found = (await inspect(database_url, idle_transaction_timeout=0.0))["idle-limit"]
    assert (found.status, found.detail) == (Status.OK, "none, as configured")
    async with altered(database_url, "idle_in_transaction_session_timeout = '7s'") as after:
        assert after["idle-limit"].detail == "idle transactions of all programs are ended after 7 s"
