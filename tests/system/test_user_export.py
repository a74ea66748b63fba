"""`GET /users.ndjson` of a server process: a response that is not completed is cut."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import opened
from tests.support.faults import Faults, in_reads
from tests.support.process import serving_process

USERS = 20_000  # more than the buffers of a connection hold
_FILL = text(f"""
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {USERS})
INSERT INTO users (username, username_key, email, email_key, display_name, display_name_key,
  is_active, status, status_reason, status_changed_at, version, created_at, updated_at)
SELECT 'user' || n, 'user' || n, 'user' || n || '@example.com', 'user' || n || '@example.com',
  NULL, NULL, true, 'ACTIVE', :reason, CURRENT_TIMESTAMP, 1, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
FROM numbers""")  # noqa: S608 - a constant


async def fill(url: str) -> None:
    async with opened(url) as database, database.engine.begin() as connection:
        await connection.execute(_FILL, {"reason": "r" * 500})


@asynccontextmanager
async def exporting(url: str) -> AsyncIterator[AsyncIterator[str]]:
    """Begin an export and yield its lines. The first one has been received."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as http,
        http.stream("GET", "/users.ndjson") as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert json.loads(await anext(lines))["username"] == "user1"
        yield lines


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_failure_in_the_middle_cuts_the_connection(database_url: str) -> None:
    await fill(database_url)
    faults = Faults(database_url)
    await faults.prepare(in_reads("users"))
    async with serving_process(ROSTER_DATABASE_URL=database_url) as (_, url):
        async with exporting(url) as lines:
            await faults.choose("XX000")
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                [line async for line in lines]
        await faults.choose("")
        async with exporting(url) as lines:
            assert len([line async for line in lines]) == USERS - 1


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_export_in_progress_is_completed_before_the_server_stops(database_url: str) -> None:
    await fill(database_url)
    async with (
        serving_process(ROSTER_DATABASE_URL=database_url) as (process, url),
        exporting(url) as lines,
    ):
        process.send_signal(signal.SIGTERM)
        names = [json.loads(line)["username"] async for line in lines]
    assert names == [f"user{n}" for n in range(2, USERS + 1)]
