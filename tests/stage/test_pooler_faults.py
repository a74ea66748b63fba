"""PgBouncer is restarted, reconnected and killed while clients write."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from tests.conftest import opened
from tests.stage.figures import record
from tests.stage.pooler_modes import KEYED, modes, settings_of, two_servers
from tests.support.client import count
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.process import free_port, http_client

CLIENTS, FAULTS = 20, 5
RESUME_SECONDS = 5.0


class Restarted:
    """PgBouncer on one port, and what can happen to it."""

    def __init__(self, folder: Path, database_url: str, mode: dict[str, Any]) -> None:
        self._folder, self._url, self._mode = folder, database_url, mode
        self._port = free_port()
        self._stack = AsyncExitStack()
        self._database = make_url(database_url).database

    async def start(self) -> PgBouncer:
        running = pgbouncer(self._folder, self._url, port=self._port, **self._mode)
        self.bouncer = await self._stack.enter_async_context(running)
        return self.bouncer

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def reconnect(self) -> None:
        await self.bouncer.command("RECONNECT")

    async def kill(self) -> None:
        await self.bouncer.command(f"KILL {self._database}")
        await self.bouncer.command(f"RESUME {self._database}")

    async def stop(self) -> None:
        await self._stack.aclose()


async def create_until_done(http: httpx.AsyncClient, name: str, codes: Counter[str]) -> None:
    values = {"username": name, "email": f"{name}@example.com", "idempotencyKey": name}
    while True:
        answer = await http.post("/graphql", json={"query": KEYED, "variables": {"input": values}})
        found = answer.json()
        if set(found) == {"data"}:
            assert found["data"]["createUser"]["errors"] == []
            return
        for error in found["errors"]:
            outcome = error["extensions"].get("outcome", "")
            codes[f"{error['extensions']['code']} {outcome}".strip()] += 1
        await asyncio.sleep(0.05)


@modes
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("fault", ["restart", "reconnect", "kill"])
async def test_writes_are_done_once_although_pgbouncer_is_interrupted(
    database_url: str, tmp_path: Path, mode: dict[str, Any], fault: str
) -> None:
    pooler, codes, created = Restarted(tmp_path, database_url, mode), Counter[str](), 0
    stop, seconds = asyncio.Event(), list[float]()
    settings = settings_of(await pooler.start(), database_url, mode)

    async def client(url: str, number: int) -> None:
        nonlocal created
        async with http_client(url) as http:
            while not stop.is_set():
                await create_until_done(http, f"client{number}x{created}x{uuid4().hex[:8]}", codes)
                created += 1

    async with asyncio.timeout(300), two_servers(settings) as urls, asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client(urls[number % 2], number))
        for _ in range(FAULTS):
            await getattr(pooler, fault)()
            before, since = created, time.monotonic()
            while created == before:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.01)
            seconds.append(time.monotonic() - since)
            while created < before + 100:  # noqa: ASYNC110 - the clients count
                await asyncio.sleep(0.01)
        stop.set()
    await pooler.stop()
    figures = {"created": created, "longest_pause": max(seconds), "codes": dict(codes)}
    record("Faults of PgBouncer", mode=mode["pool_mode"], fault=fault, rounds=FAULTS, **figures)
    async with opened(database_url) as database:
        assert await count(database) == (created, created)
    assert set(codes) <= {"DATABASE_UNAVAILABLE NOT_DONE", "DATABASE_UNAVAILABLE UNKNOWN"}
    assert max(seconds) < RESUME_SECONDS
