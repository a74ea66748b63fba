"""If the wall clock jumps by an hour, nothing fails, ends early or lasts longer."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.moved_clock import MovedClock
from tests.support.process import http_client, serving_process
from tests.support.sockets import event, socket, stream, subscribe
from tests.system.test_serve import add

HOUR = timedelta(hours=1)


NAMES = {"query": "{ users(first: 5) { nodes { username } } }"}
ADA = {"users": {"nodes": [{"username": "ada"}]}}
TOUCH = """mutation ($to: String!) {
  upsertUser(input: {by: {username: "ada"}, displayName: $to}) {
    user { updatedAt } errors { code } } }"""
TERMINATE_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid()"""
WAITING_LOCKS = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"


async def terminate_during_a_query(database_url: str, ask: Callable[..., Any]) -> None:
    """Terminates a server's connections while one of them waits for an answer."""
    other = await asyncpg.connect(database_url)
    try:
        await other.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        pending = asyncio.create_task(ask(NAMES))
        async with asyncio.timeout(60):
            while not await other.fetchval(WAITING_LOCKS):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        await other.fetch(TERMINATE_OTHERS)
        await other.execute("ROLLBACK")
        assert await pending == ADA
    finally:
        await other.close()


async def test_requests_and_streams_continue_after_clock_jumps_and_cut_connections(
    database_url: str, dialect: str, tmp_path: Path
) -> None:
    clock = MovedClock(tmp_path)
    async with (
        serving_process(ROSTER_DATABASE_URL=database_url, **clock.settings) as (_, url),
        http_client() as http,
    ):

        async def ask(body: dict[str, Any]) -> Any:
            answer = await http.post(f"{url}/graphql", json=body)
            assert set(answer.json()) == {"data"}, answer.text
            return answer.json()["data"]

        assert (await ask(add("ada")))["createUser"]["errors"] == []
        last = await ask({"query": "{ userEvents(last: 1) { pageInfo { endCursor } } }"})
        after = last["userEvents"]["pageInfo"]["endCursor"]
        times: list[str] = []
        async with stream(url, after=after) as lines, socket(url) as live:
            await subscribe(live, after=after)
            for jump in (0, -3600, 3600, 0, 7200, -7200):
                if dialect == "postgresql":
                    await terminate_during_a_query(database_url, ask)
                clock.move(jump)
                assert await asyncio.gather(*(ask(NAMES) for _ in range(20))) == [ADA] * 20
                body = {"query": TOUCH, "variables": {"to": f"Ada {len(times)}"}}
                payload = (await ask(body))["upsertUser"]
                assert payload["errors"] == []
                times.append(payload["user"]["updatedAt"])
                received = await event(live)
                async with asyncio.timeout(60):
                    while not (await http.get(f"{url}/health/ready")).is_success:
                        pass  # a busy disk can answer later than the check waits
                    while received["cursor"] not in await anext(lines):
                        pass
                assert received["versionAfter"] == len(times) + 1
        moments = [datetime.fromisoformat(moment) for moment in times]
        assert moments == sorted(set(moments))
        assert moments[2] - moments[0] > HOUR / 2  # the clock did move
