"""Clients of the feed after a restore or a failover, against real server processes.

Newest event 30; ten events are lost; 15 others are written. A client with the cursor of a lost
event has to start again from a list, and one with the cursor of event 20 misses nothing.
"""

import asyncio
import json
import shutil
import sqlite3
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy import make_url

from db import migrations
from db.errors import StandbyError
from tests.conftest import opened
from tests.graph.api.test_event_cursors import MESSAGE
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import Writer, committed_ids
from tests.support.history import lose_events
from tests.support.postgres import Programs, Server, programs
from tests.support.process import http_client, run, serving_process
from tests.support.sockets import ask, receive_message, socket, stream, subscribe

# Commits are synchronous here: otherwise an immediate stop of the server loses them.
SETTINGS: Final = {"listen_addresses": "", "fsync": "off", "max_connections": "60"}
BULK = "mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { succeeded } }"
LIST = """query ($after: String) {
  userEvents(first: 100, after: $after) { nodes { cursor } } }"""
QUESTION = "Start a new epoch? [y/N]: "
REJECTED = [(MESSAGE, "INVALID_CURSOR")]


class Follower:
    """One subscription: the ids that it receives, and the errors that end it."""

    def __init__(self, results: AsyncIterator[dict[str, Any]]) -> None:
        self.ids: list[int] = []
        self._results = results

    async def until(self, last: int) -> list[int]:
        """Returns all ids after the event with the id `last` arrived."""
        while last not in self.ids:
            result = await self._next()
            assert set(result) == {"data"}, result
            self.ids.append(id_at(result["data"]["userEvents"]["cursor"]))
        return self.ids

    async def end(self) -> list[tuple[str, str]]:
        """Returns the errors that end the subscription; they must be the next result."""
        result = await self._next()
        assert result.get("data") is None, result
        return [(error["message"], error["extensions"]["code"]) for error in result["errors"]]

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            return await anext(self._results)


async def over_a_socket(url: str, after: str, stack: AsyncExitStack) -> Follower:
    live = await stack.enter_async_context(socket(url))
    await subscribe(live, after=after)

    async def results() -> AsyncIterator[dict[str, Any]]:
        while True:
            message = await receive_message(live)
            payload = message["payload"]
            yield payload if message["type"] == "next" else {"errors": payload}

    return Follower(results())


async def over_a_stream(url: str, after: str, stack: AsyncExitStack) -> Follower:
    lines = await stack.enter_async_context(stream(url, after=after))

    async def results() -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    return Follower(results())


@asynccontextmanager
async def following(urls: Sequence[str], after: str) -> AsyncIterator[list[Follower]]:
    """Follow on each of the servers, over a WebSocket and over Server-Sent Events."""
    async with AsyncExitStack() as stack:
        yield [
            await way(url, after, stack) for url in urls for way in (over_a_socket, over_a_stream)
        ]


async def post(url: str, text: str, **variables: Any) -> dict[str, Any]:
    async with http_client(url) as http:
        answer = await http.post("/graphql", json={"query": text, "variables": variables})
    found: dict[str, Any] = answer.json()
    return found


async def received_ids(url: str, after: str, last: int) -> list[int]:
    async with following([url], after) as followers:
        [ids, same] = [await follower.until(last) for follower in followers]
        assert ids == same
        return ids


async def assert_rejected(url: str, after: str) -> None:
    """Asserts that a cursor is rejected for a list and for both kinds of subscriptions."""
    answer = await post(url, LIST, after=after)
    assert answer["data"] == {"userEvents": None}
    assert [(e["message"], e["extensions"]["code"]) for e in answer["errors"]] == REJECTED
    async with following([url], after) as followers:
        assert [await follower.end() for follower in followers] == [REJECTED] * 2


async def list_ids(url: str, after: str) -> list[int]:
    return [id_at(node["cursor"]) for node in (await ask(url, LIST, after=after))["nodes"]]


async def create(url: str, name: str, count: int) -> None:
    """Creates users; retries until the database accepts writes."""
    users = [{"username": f"{name}{n}", "email": f"{name}{n}@example.com"} for n in range(count)]
    created = {"operations": [{"create": user} for user in users]}

    async def attempt() -> bool:
        return "data" in await post(url, BULK, input=created)

    await retry(attempt)


async def retry(attempt: Callable[[], Awaitable[Any]]) -> None:
    """Retries until the attempt succeeds."""
    async with asyncio.timeout(60):
        while True:
            if await attempt():
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def two_servers(database_url: str) -> AsyncIterator[tuple[list[str], list[Process]]]:
    settings = {"ROSTER_DATABASE_URL": database_url}
    async with (
        serving_process(None, **settings) as (one, url),
        serving_process(None, **settings) as (two, other),
    ):
        yield [url, other], [one, two]


class Ledger:
    """The events and cursors of one directory before events are lost."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.cursors: dict[int, str] = {}
        self.before: list[int] = []

    async def ids(self) -> list[int]:
        async with opened(self.database_url) as database:
            return await committed_ids(database)

    async def keep(self) -> None:
        """Records the cursors of all current events."""
        self.before = await self.ids()
        async with opened(self.database_url) as database:
            self.cursors = {id_: await cursor_at(database, id_) for id_ in self.before}

    async def check(self, urls: Sequence[str], kept: int) -> None:
        """Asserts that the cursors of the first `kept` events are valid and the others are not."""
        after = await self.ids()
        assert after[:kept] == self.before[:kept]
        for url in urls:
            valid = self.cursors[self.before[kept - 1]]
            assert await received_ids(url, valid, after[-1]) == after[kept:]
            assert await list_ids(url, valid) == after[kept:]
            for id_ in {self.before[kept], self.before[-1]}:
                await assert_rejected(url, self.cursors[id_])


async def log_of(process: Process) -> str:
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()


async def test_loss_of_events_ends_followers_on_every_server(database_url: str) -> None:
    ledger = Ledger(database_url)
    async with two_servers(database_url) as (urls, processes):
        await create(urls[0], "user", 30)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                assert await follower.until(30) == list(range(21, 31))
            async with opened(database_url) as database:
                await lose_events(database, 20)
            await create(urls[0], "new", 15)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        assert await ledger.ids() == list(range(1, 36))
        await ledger.check(urls, 20)
        for process in processes:
            log = await log_of(process)
            assert log.count("the event at the feed's position is gone") == 1
            assert "Traceback" not in log


async def test_new_epoch_ends_followers_on_every_server(database_url: str) -> None:
    ledger = Ledger(database_url)
    command = ("feed", "renew-epoch", "--reason", "restored from a backup")
    async with two_servers(database_url) as (urls, _):
        await create(urls[0], "user", 3)
        await ledger.keep()
        async with following(urls, ledger.cursors[2]) as followers:
            for follower in followers:
                assert await follower.until(3) == [3]
            code, output = await run(*command, ROSTER_DATABASE_URL=database_url)
            assert (code, output.splitlines()[-1]) == (1, f"{QUESTION}Aborted.")
            await create(urls[1], "new", 1)
            for follower in followers:
                assert await follower.until(4) == [3, 4]
            code, output = await run(*command, "--yes", ROSTER_DATABASE_URL=database_url)
            assert (code, output.splitlines()[-1]) == (0, "Started epoch 2.")
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        for url in urls:
            for cursor in ledger.cursors.values():
                await assert_rejected(url, cursor)
        assert await list_ids(urls[0], await cursor_at(database_url, 2)) == [3, 4]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_backup_restored_into_a_sqlite_file_in_use_ends_followers(
    database_url: str, tmp_path: Path
) -> None:
    ledger = Ledger(database_url)
    file, backup = Path(make_url(database_url).database or ""), tmp_path / "backup.db"
    async with two_servers(database_url) as (urls, _):
        await create(urls[0], "user", 20)
        copy_sqlite(file, backup)
        await create(urls[0], "lost", 10)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                await follower.until(30)
            copy_sqlite(backup, file)
            await create(urls[1], "new", 15)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        assert await ledger.ids() == list(range(1, 36))
        await ledger.check(urls, 20)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_server_on_a_restored_sqlite_copy_rejects_lost_cursors(
    database_url: str, tmp_path: Path
) -> None:
    ledger = Ledger(database_url)
    file, copy = Path(make_url(database_url).database or ""), tmp_path / "copy.db"
    async with serving_process(ROSTER_DATABASE_URL=database_url) as (_, url):
        await create(url, "user", 20)
        copy_sqlite(file, copy)
        await create(url, "lost", 10)
        await ledger.keep()
    replace_file(file, copy)
    async with serving_process(ROSTER_DATABASE_URL=database_url) as (_, url):
        for id_ in (21, 30):
            await assert_rejected(url, ledger.cursors[id_])
        await create(url, "new", 15)
        await ledger.check([url], 20)


def replace_file(file: Path, copy: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, file)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copies a database with SQLite's backup API, even if other processes use it."""
    with sqlite3.connect(source) as one, sqlite3.connect(target, timeout=30) as other:
        one.backup(other)
    one.close()
    other.close()


class Cluster:
    """PostgreSQL servers behind one address, which leads to the primary."""

    def __init__(self, installed: Programs) -> None:
        self._installed = installed
        self._address = installed.home / "primary"
        self.url = f"postgresql://postgres@/postgres?host={self._address}"
        self.ledger = Ledger(self.url)
        self.servers: list[Server] = []

    def add(self, name: str) -> Server:
        server = Server(self._installed, name)
        self.servers.append(server)
        return server

    async def begin(self) -> Server:
        first = self.add("first")
        first.init()
        first.start(SETTINGS)
        self.point_to(first)
        async with opened(self.url) as database:
            await migrations.upgrade(database)
        return first

    def standby_of(self, primary: Server) -> Server:
        standby = self.add("standby")
        standby.copy(primary, standby=True)
        standby.start(SETTINGS)
        return standby

    def point_to(self, server: Server) -> None:
        self._address.unlink(missing_ok=True)
        self._address.symlink_to(server.home)

    def close(self) -> None:
        for server in self.servers:
            if (server.data / "postmaster.pid").exists():
                server.stop("immediate")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with programs() as installed:
        cluster = Cluster(installed)
        try:
            yield cluster
        finally:
            cluster.close()


async def wait_for_replay(standby: Server, primary: Server) -> None:
    end = await query(primary, "SELECT pg_current_wal_lsn()::text")
    await retry(partial(query, standby, f"SELECT pg_last_wal_replay_lsn() >= '{end}'"))


async def query(server: Server, statement: str) -> Any:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def stop_receiving(standby: Server) -> None:
    await query(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    await query(standby, "SELECT pg_reload_conf()")
    await retry(partial(query, standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver"))


async def test_switchover_keeps_cursors_and_followers(cluster: Cluster) -> None:
    """Even while the new server is still a standby and behind."""
    primary, ledger = await cluster.begin(), cluster.ledger
    standby = cluster.standby_of(primary)
    async with two_servers(cluster.url) as (urls, _):
        await create(urls[0], "user", 15)
        await wait_for_replay(standby, primary)
        await query(standby, "SELECT pg_wal_replay_pause()")
        await create(urls[0], "behind", 15)
        await ledger.keep()
        async with following(urls, ledger.cursors[10]) as followers:
            for follower in followers:
                assert await follower.until(30) == list(range(11, 31))
            primary.stop()
            cluster.point_to(standby)
            answers = [await post(url, LIST, after=ledger.cursors[30]) for url in urls]
            assert [answer["errors"][0]["extensions"]["code"] for answer in answers] == [
                "DATABASE_UNAVAILABLE"
            ] * 2
            async with opened(cluster.url) as behind:
                with pytest.raises(StandbyError):  # its locks are not those of the primary
                    await behind.event_writers()
            standby.promote()
            await create(urls[0], "new", 15)
            after = await ledger.ids()
            assert after[:30] == ledger.before
            for follower in followers:
                assert await follower.until(after[-1]) == after[10:]
        for url in urls:
            for id_ in (10, 30):
                assert await received_ids(url, ledger.cursors[id_], after[-1]) == after[id_:]


async def test_failover_that_lost_commits_ends_followers(cluster: Cluster) -> None:
    primary, ledger = await cluster.begin(), cluster.ledger
    standby = cluster.standby_of(primary)
    async with two_servers(cluster.url) as (urls, _):
        await create(urls[0], "user", 20)
        await wait_for_replay(standby, primary)
        await stop_receiving(standby)
        await create(urls[0], "lost", 10)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                assert await follower.until(30) == list(range(21, 31))
            primary.stop("immediate")
            standby.promote()
            cluster.point_to(standby)
            await create(urls[0], "new", 15)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        assert len(await ledger.ids()) == 35
        await ledger.check(urls, 20)


async def test_failover_that_lost_an_event_below_a_survivor_begins_a_new_epoch(
    cluster: Cluster,
) -> None:
    """Event 21 was committed after event 22, and only 22 reached the standby."""
    primary, ledger = await cluster.begin(), cluster.ledger
    standby = cluster.standby_of(primary)
    async with two_servers(cluster.url) as (urls, _), opened(cluster.url) as database:
        await create(urls[0], "user", 20)
        await ledger.keep()
        async with following(urls, ledger.cursors[19]) as followers:
            for follower in followers:
                assert await follower.until(20) == [20]
            late = Writer(database, "late")
            await late.begin(1)
            await create(urls[0], "survivor", 1)
            await wait_for_replay(standby, primary)
            await stop_receiving(standby)
            await late.end(commit=True)
            for follower in followers:
                assert await follower.until(22) == [20, 21, 22]
            await ledger.keep()
            primary.stop("immediate")
            standby.promote()
            cluster.point_to(standby)
            await create(urls[0], "new", 1)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        for url in urls:
            for id_ in (20, 22):
                await assert_rejected(url, ledger.cursors[id_])
        epochs = "SELECT string_agg(coalesce(reason, 'first'), ', ' ORDER BY id) FROM feed_epochs"
        assert await query(standby, epochs) == (
            "first, a failover lost events below others that survived"
        )


async def test_point_in_time_recovery_ends_followers(cluster: Cluster) -> None:
    primary, ledger = await cluster.begin(), cluster.ledger
    recovered = cluster.add("recovered")
    async with two_servers(cluster.url) as (urls, _):
        recovered.copy(primary)
        await create(urls[0], "user", 20)
        await query(primary, "SELECT pg_create_restore_point('good')")
        await create(urls[0], "lost", 10)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                assert await follower.until(30) == list(range(21, 31))
            primary.stop()
            recovered.recover_to("good", wal=primary.data / "pg_wal")
            recovered.start(SETTINGS)
            cluster.point_to(recovered)
            await create(urls[0], "new", 15)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        assert len(await ledger.ids()) == 35
        await ledger.check(urls, 20)


async def test_pg_restore_into_the_same_cluster_ends_followers(cluster: Cluster) -> None:
    server, ledger = await cluster.begin(), cluster.ledger
    dump = server.home / "roster.dump"
    async with two_servers(cluster.url) as (urls, _):
        await create(urls[0], "user", 20)
        server.dump("postgres", dump)
        await create(urls[0], "lost", 10)
        await ledger.keep()
        async with following(urls, ledger.cursors[20]) as followers:
            for follower in followers:
                assert await follower.until(30) == list(range(21, 31))
            await replace_database(server, dump)
            await create(urls[0], "new", 15)
            assert [await follower.end() for follower in followers] == [REJECTED] * 4
        assert await ledger.ids() == list(range(1, 36))
        await ledger.check(urls, 20)


async def replace_database(server: Server, dump: Path) -> None:
    connection = await asyncpg.connect(server.url, database="template1")
    await connection.execute("DROP DATABASE postgres WITH (FORCE)")
    await connection.execute("CREATE DATABASE postgres")
    await connection.close()
    server.restore("postgres", dump)
