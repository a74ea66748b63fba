"""A large directory is migrated under load. The code of an earlier commit runs on its schema."""

import asyncio
import io
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import opened, run_in
from tests.support.load import Load
from tests.support.process import run, serving_process, start
from tests.support.releases import ROOT, additive

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
USERS, CLIENTS = 300_000, 8
_REPORT = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users"
# Revision 0010, with the same dependencies. It is not in a clone without history.
EARLIER = "eab9f9b"
HELD = 6.0  # seconds
LONGEST = 3.0  # seconds that a request may wait: the lock timeout, and the load of two cores
FILL = f"""
  INSERT INTO users (username, username_key, email, email_key, display_name, display_name_key,
    is_active, status, status_changed_at, version, created_at, updated_at)
  SELECT 'u' || n, 'u' || n, 'u' || n, 'u' || n, 'User ' || n, 'user ' || n, true, 'ACTIVE', now(),
    1, now(), now() FROM generate_series(1, {USERS}) n"""  # noqa: S608 - of constants


@asynccontextmanager
async def reporting(url: str) -> AsyncIterator[None]:
    """Hold a transaction open that has read `users`, such as a report, for the duration."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_REPORT)
        yield
    finally:
        await connection.close()


async def migrated_behind_a_report(url: str, **settings: Any) -> float:
    """Migrate while a report is open for some attempts. Return the duration."""
    begun = time.monotonic()
    async with reporting(url):
        migration = await start("migrate", ROSTER_DATABASE_URL=url, **settings)
        assert migration.stdout
        while not (line := await migration.stdout.readline()).startswith(b"Waiting: a lock"):
            assert line, "it did not wait"
            print(line.decode(), end="")  # noqa: T201 - for the report
        await asyncio.sleep(HELD)
    output, _ = await migration.communicate()
    print((line + output).decode())  # noqa: T201 - for the report
    assert migration.returncode == 0
    return time.monotonic() - begun


async def test_no_request_fails_while_a_large_directory_is_migrated(
    database_url: str, tmp_path: Path
) -> None:
    await run_in(database_url, FILL, "ANALYZE")
    release = additive(tmp_path / "next")
    await upgraded_under_load(database_url, earlier={}, later=release.settings)


def extract(commit: str, folder: Path) -> None:
    archive = subprocess.run(  # noqa: S603 - our own arguments
        ["git", "archive", commit],  # noqa: S607 - of the path
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.skip(f"this clone does not contain commit {commit}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
        tree.extractall(folder, filter="data")


async def test_code_of_an_earlier_commit_runs_on_the_schema_of_this_one(
    empty_url: str, tmp_path: Path
) -> None:
    extract(EARLIER, tmp_path)
    earlier: dict[str, Any] = {"PYTHONPATH": str(tmp_path)}
    code, output = await run("migrate", ROSTER_DATABASE_URL=empty_url, **earlier)
    assert (code, output.splitlines()[-1].endswith(" is at revision 0010.")) == (0, True)
    await run_in(empty_url, FILL, "ANALYZE")
    await upgraded_under_load(empty_url, earlier=earlier, later={})


async def upgraded_under_load(url: str, earlier: dict[str, Any], later: dict[str, Any]) -> None:
    """Serve by two earlier servers, migrate, and replace one of them."""
    # The code of the earlier commit does not know all settings.
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": url, "ROSTER_DRAIN_PERIOD": ""}
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving_process(**settings, **earlier)) for _ in "12"
        ]
        load = Load(*(served for _, served in servers))
        async with load.running(CLIENTS):
            await load.more(500)
            usual, load.longest = load.longest, 0.0
            duration = await migrated_behind_a_report(url, **later)
            during, load.longest = load.longest, 0.0
            _, added = await stack.enter_async_context(serving_process(**settings, **later))
            load.urls.append(added)
            await load.more(500)
            await load.leave(servers[0][1])
            await load.more(500)
    async with opened(url) as database:
        lost = await load.lost(database)
    print(  # noqa: T201 - for the report
        f"{USERS} users, migrated in {duration:.1f} s; {load.requests} requests, "
        f"{sum(load.failures.values())} failed, {len(lost)} lost; longest request: before "
        f"{usual:.2f} s, during {during:.2f} s, afterwards {load.longest:.2f} s"
    )
    assert (load.failures, lost) == ({}, [])
    assert during < LONGEST
