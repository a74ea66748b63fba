"""Random operations behind two servers while standbys lag, freeze, crash and are promoted."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.support.plain_http import PlainClient
from tests.support.postgres import Server
from tests.support.process import serving_process
from tests.support.replicas import (
    SETTINGS,
    Cluster,
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

CALLERS, USERS = 32, 12


@asynccontextmanager
async def two_servers(made: Cluster, consistency: str) -> AsyncIterator[list[str]]:
    """Yield the URLs of two server processes."""
    settings: dict[str, Any] = PRODUCTION | {
        "ROSTER_DATABASE_URL": made.primary.url,
        "ROSTER_READ_DATABASE_URL": made.read_url,
        "ROSTER_READ_CONSISTENCY": consistency,
        "ROSTER_RATE_LIMIT": "off",
    }
    async with AsyncExitStack() as stack:
        entered = [await stack.enter_async_context(serving_process(**settings)) for _ in range(2)]
        yield [url for _, url in entered]


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


async def checked(
    made: Cluster, consistency: str, clients: str, operations: int, seed: str
) -> tuple[Report, int]:
    """Check random operations during faults. Returns the number of faults, too.

    `clients` send their positions or not, and roam or stay at one of the servers.
    """
    report = Report()
    async with two_servers(made, consistency) as urls, AsyncExitStack() as stack:
        async with PlainClient(urls[0]) as server:
            ids = await add_users(server, USERS)
        callers = []
        for number in range(CALLERS):
            own = urls if "roam" in clients else [urls[number % 2]]
            servers = [await stack.enter_async_context(PlainClient(url)) for url in own]
            sends = "send" in clients
            callers.append(Caller(f"caller-{number}", servers, report, seed, sends_position=sends))
        faults = Faults(made, seed)
        failing = asyncio.create_task(faults.run())
        try:
            await check(callers, report, ids, operations // 2)
            if failing.done():
                failing.result()
            await faults.promote(made.standbys[1])
            await write_elsewhere(made.standbys[1])
            await check(callers, report, ids, operations // 2)
        finally:
            failing.cancel()
            await asyncio.gather(failing, return_exceptions=True)
            for standby in made.standbys:
                if is_running(standby):
                    resume(standby)
    print(f"\n{consistency}, {clients}, {faults.count} faults: {report}")  # noqa: T201 - for people
    return report, faults.count
