"""A Patroni cluster loses its primary while clients write and follow, on two servers.

`make stage STAGE="-k failover"`; STAGE_ROUNDS=5 repeats each fault five times.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.stage.figures import record
from tests.support.haproxy import haproxy_postgresql
from tests.support.outage_load import Followers, Writers, following
from tests.support.patroni import Cluster, Node, patroni, wait_for
from tests.support.process import run, serving_process
from tests.support.sockets import ask

ROUNDS: Final = int(os.environ.get("STAGE_ROUNDS", "1"))
RESUME_SECONDS: Final = 5.0  # after the promotion
REFUSE_SECONDS: Final = 10.0  # docs/operations.md: requests fail within ten seconds
FOLLOW_FROM = "{ users(first: 1) { followFrom } }"
EVENTS = """query ($after: String) {
  userEvents(first: 100, after: $after) { nodes { cursor } } }"""
# The connection that listens is checked every five seconds by the second statement.
LISTENERS = """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roster'
  AND query IN ('LISTEN "roster_events"', 'SHOW transaction_read_only')"""


async def killed(_: Cluster, primary: Node) -> None:
    await primary.kill()


async def frozen(_: Cluster, primary: Node) -> None:
    primary.freeze()


async def switched_over(cluster: Cluster, primary: Node) -> None:
    await cluster.switch_over(primary)


async def cut_off(_: Cluster, primary: Node) -> None:
    """Nothing reaches the primary, and it reaches nothing."""
    for one in primary.relays:
        one.silence()


async def cut_off_from_its_peers(_: Cluster, primary: Node) -> None:
    """Roster still reaches the primary, which reaches neither etcd nor the standbys."""
    for one in (primary.peers, primary.etcd):
        one.silence()


async def heal(cluster: Cluster, old: Node) -> None:
    for one in old.relays:
        one.restore()
    old.thaw()
    if old.is_killed:
        await old.start()
    await cluster.until_healthy()


@asynccontextmanager
async def hosts(cluster: Cluster, _: Path) -> AsyncIterator[str]:
    yield cluster.url


@asynccontextmanager
async def haproxy(cluster: Cluster, folder: Path) -> AsyncIterator[str]:
    servers = [(node.clients.port, node.api.port) for node in cluster.nodes]
    async with haproxy_postgresql(folder, servers) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


TOPOLOGIES: Final = {"hosts": hosts, "haproxy": haproxy}
FAULTS: Final = (killed, frozen, switched_over, cut_off, cut_off_from_its_peers)


Fault = Callable[[Cluster, Node], Coroutine[None, None, None]]


@dataclass
class Trial:
    """What was measured of one fault in all its rounds."""

    urls: list[str]
    writers: Writers
    followers: Followers
    after: str
    first: list[float] = field(default_factory=list)
    all: list[float] = field(default_factory=list)

    async def round(self, cluster: Cluster, fault: Fault) -> None:
        await self.writers.until(50)
        primary = await cluster.primary()
        injecting = asyncio.create_task(fault(cluster, primary))
        await cluster.primary(besides=primary)
        first, everyone = await self.writers.resumed(time.monotonic())
        self.first.append(first)
        self.all.append(everyone)
        await injecting
        await heal(cluster, primary)
        await self.writers.until(50)
        new = await cluster.primary()
        await wait_for(lambda: listens(new, len(self.urls)), "nobody listens", cluster, 10)


async def listens(node: Node, servers: int) -> bool:
    [[count]] = await node.query(LISTENERS)
    return bool(count >= servers)


async def serve(stack: AsyncExitStack, settings: dict[str, Any]) -> str:
    """Start a server, whose log is read: it would wait if the pipe were full."""
    process, url = await stack.enter_async_context(serving_process(**settings))

    async def drain() -> None:
        assert process.stdout
        while await process.stdout.read(65_536):
            pass

    reading = asyncio.create_task(drain())

    async def stop() -> None:
        reading.cancel()
        await asyncio.wait([reading])

    stack.push_async_callback(stop)
    return url


@asynccontextmanager
async def trial(url: str) -> AsyncIterator[Trial]:
    assert (await run("migrate", ROSTER_DATABASE_URL=url))[0] == 0
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"ROSTER_DATABASE_URL": url, "ROSTER_POOL_SIZE": "5"}
        urls = [await serve(stack, settings) for _ in range(2)]
        after = (await ask(urls[0], FOLLOW_FROM))["followFrom"]
        followers = await stack.enter_async_context(following(urls, after))
        yield Trial(urls, Writers(urls), followers, after)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_writes_resume_and_nothing_is_lost_after_a_failover(
    fault: Fault, topology: str, tmp_path: Path
) -> None:
    async with patroni() as cluster, TOPOLOGIES[topology](cluster, tmp_path) as url:
        async with trial(url) as tried:
            for _ in range(ROUNDS):
                await tried.round(cluster, fault)
            await tried.writers.stop()
            node = await cluster.primary()
            events = [row[0] for row in await node.query("SELECT id FROM user_events ORDER BY id")]
            users = await node.query("SELECT username FROM users")
            await tried.followers.until(events[-1])
            listed = await ask(tried.urls[0], EVENTS, after=tried.after)
        writers, stored = tried.writers, [row[0] for row in users]
        lost = writers.acknowledged - set(stored)
        gaps = {name: ids for name, ids in tried.followers.ids.items() if ids != events}
        record(
            "Failover",
            topology=topology,
            fault=fault.__name__.replace("_", " "),
            rounds=ROUNDS,
            acknowledged=len(writers.acknowledged),
            lost=len(lost),
            duplicated=len(events) - len(stored),
            replayed=writers.replayed,
            first_write_after=max(tried.first),
            each_client_after=max(tried.all),
            refused_within=writers.slowest,
            refused_with=", ".join(f"{n} x {which}" for which, n in writers.refusals.items()),
        )
        assert writers.problems == []
        assert lost == set()
        assert len(events) == len(stored) == len(writers.acknowledged)
        assert gaps == {}
        assert len(listed["nodes"]) == 100
        assert all(refusal.retry_after for refusal in writers.refusals)
        assert {(refusal.status, refusal.code) for refusal in writers.refusals} <= {
            (503, "DATABASE_UNAVAILABLE")
        }
        assert max(tried.all) < RESUME_SECONDS
        assert writers.slowest < REFUSE_SECONDS
