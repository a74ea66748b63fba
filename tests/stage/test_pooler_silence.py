"""PostgreSQL answers nothing, while PgBouncer in front of it accepts connections."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import opened
from tests.stage.figures import record
from tests.stage.pooler_modes import modes, settings_of, two_servers
from tests.support.pgbouncer import pgbouncer
from tests.support.process import http_client
from tests.support.proxy import proxied

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
COUNT = {"query": "{ users { totalCount } }"}
FAIL_SECONDS, READY_SECONDS, RESUME_SECONDS = 10.0, 2.5, 5.0
RUNNING = """SELECT 1 FROM pg_stat_activity
  WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"""


async def timed(http: httpx.AsyncClient) -> tuple[float, Any]:
    since = time.monotonic()
    answer = (await http.post("/graphql", json=COUNT)).json()
    return time.monotonic() - since, answer


async def ready(http: httpx.AsyncClient) -> tuple[float, int]:
    since = time.monotonic()
    status = (await http.get("/health/ready")).status_code
    return time.monotonic() - since, status


@modes
async def test_requests_fail_in_time_while_the_server_behind_pgbouncer_is_silent(
    database_url: str, tmp_path: Path, mode: dict[str, Any]
) -> None:
    async with (
        asyncio.timeout(200),
        proxied(database_url) as (proxy, near),
        pgbouncer(tmp_path, near, **mode) as bouncer,
        two_servers(settings_of(bouncer, near, mode)) as urls,
        http_client(urls[0]) as http,
    ):
        assert (await timed(http))[1] == {"data": {"users": {"totalCount": 0}}}
        assert (await ready(http))[1] == 200
        proxy.pause()
        answers = await asyncio.gather(*(timed(http) for _ in range(10)))
        checks = [await ready(http) for _ in range(3)]
        proxy.restore()
        since = time.monotonic()
        while "errors" in (await timed(http))[1]:
            pass
        resumed = time.monotonic() - since
        while (await ready(http))[1] != 200:
            pass
    failed = max(seconds for seconds, _ in answers)
    checked = max(seconds for seconds, _ in checks)
    figures = {"failed_after": failed, "not_ready_after": checked, "resumed_after": resumed}
    record("PostgreSQL silent behind PgBouncer", mode=mode["pool_mode"], **figures)
    assert {answer["errors"][0]["extensions"]["code"] for _, answer in answers} == {
        "DATABASE_UNAVAILABLE"
    }
    assert {status for _, status in checks} == {503}
    assert failed < FAIL_SECONDS
    assert checked < READY_SECONDS
    assert resumed < RESUME_SECONDS


@modes
async def test_cancelled_statement_is_ended_in_the_server(
    database_url: str, tmp_path: Path, mode: dict[str, Any]
) -> None:
    settings = settings_of
    async with pgbouncer(tmp_path, database_url, **mode) as bouncer, asyncio.timeout(60):
        options = settings(bouncer, database_url, mode)
        async with (
            opened(
                bouncer.url, direct_url=database_url, pooler=options["ROSTER_DATABASE_POOLER"]
            ) as database,
            opened(database_url) as direct,
            database.session() as session,
        ):
            sleeping = asyncio.create_task(session.execute(text("SELECT pg_sleep(600)")))
            while not await rows(direct):
                pass
            sleeping.cancel()
            await asyncio.wait({sleeping})
            assert sleeping.cancelled()
            while await rows(direct):
                pass
            await database.ping()


async def rows(database: Any) -> int:
    async with database.session() as session:
        return len((await session.execute(text(RUNNING))).all())
