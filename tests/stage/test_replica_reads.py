"""Read-your-writes and monotonic reads behind two servers while replicas lag, stop and return."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.postgres import Server
from tests.support.process import http_client, serving_process
from tests.support.replicas import (
    SETTINGS,
    Cluster,
    cluster,
    freeze,
    is_running,
    kill,
    pause_replay,
    query,
    resume,
    resume_replay,
)
from tests.support.session_guarantees import Caller, Report, add_users, check
from tests.system.test_production import SETTINGS as PRODUCTION

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "100000"))
SEED = os.environ.get("REPLICA_SEED", "1")
CALLERS, USERS = 8, 12
SCANS = "SELECT sum(seq_scan + idx_scan)::bigint FROM pg_stat_user_tables WHERE relname = 'users'"


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    """The last of three standbys follows the second, which is promoted."""
    with cluster(3, cascading=True) as made:
        yield made


@asynccontextmanager
async def two_servers(made: Cluster, consistency: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    settings: dict[str, Any] = PRODUCTION | {
        "ROSTER_DATABASE_URL": made.primary.url,
        "ROSTER_READ_DATABASE_URL": made.read_url,
        "ROSTER_READ_CONSISTENCY": consistency,
        "ROSTER_RATE_LIMIT": "off",
    }
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            _, url = await stack.enter_async_context(serving_process(**settings))
            clients.append(await stack.enter_async_context(http_client(url)))
        yield clients


class Faults:
    """Random faults of the standbys, one after another, until it is cancelled."""

    def __init__(self, made: Cluster, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not for security
        self._standbys = list(made.standbys)
        self._lock = asyncio.Lock()  # a fault ends before another one begins
        self.count = 0

    async def run(self) -> None:
        faults: list[Callable[[Server], Awaitable[None]]] = [
            self._pause,
            self._delay,
            self._freeze,
            self._kill,
            self._restart,
        ]
        while True:
            async with self._lock:
                await self._random.choice(faults)(self._random.choice(self._standbys))
                self.count += 1
            await self._wait(0.2)

    async def promote(self, server: Server) -> None:
        """Promote a standby, which then writes a log of its own beyond the primary's."""
        async with self._lock:
            self._standbys.remove(server)
            await asyncio.to_thread(server.promote)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(self._random.uniform(0, seconds))

    async def _pause(self, server: Server) -> None:
        await pause_replay(server)
        await self._wait(1.5)
        await resume_replay(server)

    async def _delay(self, server: Server) -> None:
        for delay in ("150ms", "0"):
            await query(server, f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
            await query(server, "SELECT pg_reload_conf()")
            await self._wait(2)

    async def _freeze(self, server: Server) -> None:
        freeze(server)
        await self._wait(1.5)
        resume(server)

    async def _kill(self, server: Server) -> None:
        await asyncio.to_thread(kill, server)
        await self._wait(0.5)
        await asyncio.to_thread(server.start, SETTINGS)

    async def _restart(self, server: Server) -> None:
        await asyncio.to_thread(server.stop, "fast")
        await asyncio.to_thread(server.start, SETTINGS)


async def write_elsewhere(server: Server) -> None:
    """Write to a promoted server, so that its log and that of its standby grow."""
    await query(server, "CREATE TABLE elsewhere AS SELECT generate_series(1, 200000) AS n")
    await query(server, "UPDATE users SET display_name = 'elsewhere', version = version")


async def scans(servers: list[Server]) -> int:
    return sum([await query(server, SCANS) or 0 for server in servers if is_running(server)])


async def checked(made: Cluster, consistency: str, *, clients: str) -> Report:
    """Check random operations during faults.

    `clients` send their positions or not, and roam or stay at one of the servers.
    """
    report = Report()
    async with two_servers(made, consistency) as servers:
        ids = await add_users(servers[0], USERS)
        callers = [
            Caller(
                f"caller-{number}",
                servers if "roam" in clients else [servers[number % 2]],
                report,
                SEED,
                sends_position="send" in clients,
            )
            for number in range(CALLERS)
        ]
        faults = Faults(made, SEED)
        failing = asyncio.create_task(faults.run())
        try:
            await check(callers, report, ids, OPERATIONS // 2)
            if failing.done():
                failing.result()
            await faults.promote(made.standbys[1])
            await write_elsewhere(made.standbys[1])
            await check(callers, report, ids, OPERATIONS // 2)
        finally:
            failing.cancel()
            await asyncio.gather(failing, return_exceptions=True)
            for server in made.standbys:
                if is_running(server):
                    resume(server)
    print(f"\n{consistency}, {clients}, {faults.count} faults: {report}")  # noqa: T201
    return report


@pytest.mark.parametrize(
    ("consistency", "clients"),
    [("token", "send, roam"), ("caller", "send, roam"), ("caller", "stay")],
)
def test_callers_see_their_writes_and_nothing_older(
    replicated: Cluster, consistency: str, clients: str
) -> None:
    report = asyncio.run(checked(replicated, consistency, clients=clients))
    assert report.violations == []
    assert not report.errors
    assert report.operations.total() >= OPERATIONS - 2 * CALLERS


@pytest.mark.parametrize(("consistency", "clients"), [("token", "stay"), ("caller", "roam")])
def test_checker_finds_violations_without_the_guarantee(
    replicated: Cluster, consistency: str, clients: str
) -> None:
    report = asyncio.run(checked(replicated, consistency, clients=clients))
    assert report.violations
