"""Servers that must not answer queries: promoted, of another primary, behind a changed address."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError

from db.replication.router import ReadConsistency
from graph.settings import Settings
from tests.conftest import run_in
from tests.support.client import serving
from tests.support.replica_client import create, has_replayed_all, post, replicas, served, until
from tests.support.replicas import (
    SETTINGS,
    Cluster,
    cluster,
    connected,
    kill,
    pause_replay,
    query,
    resume_replay,
)

LOCKED = """SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND granted
  AND mode = 'AccessExclusiveLock'"""
USER = "query ($id: ID!) { user(id: $id) { username } }"


@pytest.fixture
def cascade() -> Iterator[Cluster]:
    """The second standby follows the first."""
    with cluster(cascading=True) as made:
        yield made


async def test_promoted_standby_and_its_standby_are_skipped(cascade: Cluster) -> None:
    promoted, follower = cascade.standbys
    async with served(cascade, read_consistency=ReadConsistency.TOKEN) as client:
        await has_replayed_all(client)
        await asyncio.to_thread(promoted.promote)
        # The log of the follower is now ahead of the primary's.
        await run_in(promoted.url, "CREATE TABLE elsewhere AS SELECT generate_series(1, 100000)")
        id_, position = await create(client, "ada")
        assert (await post(client, USER, position, id=id_))[0] == {"user": {"username": "ada"}}
        await until(lambda: replicas(client)[0].reason == "it is not a standby")
        ahead = await query(cascade.primary, "SELECT pg_current_wal_lsn()")
        async with asyncio.timeout(60):
            while await query(follower, "SELECT pg_last_wal_replay_lsn()") <= ahead:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        assert (await post(client, USER, position, id=id_))[0] == {"user": {"username": "ada"}}


async def test_role_without_privileges_reads_on_the_primary(cascade: Cluster) -> None:
    await run_in(
        cascade.primary.url,
        "CREATE ROLE plain LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
    )
    urls = [s.url.replace("//postgres@", "//plain@") for s in cascade.standbys]
    settings = Settings(database_url=cascade.primary.url, read_database_url=" ".join(urls))
    async with serving(settings) as client:
        reason = "its role lacks the privileges of pg_read_all_stats"
        await until(lambda: replicas(client)[0].reason == reason)
        id_, _ = await create(client, "ada")
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}
        await run_in(cascade.primary.url, "GRANT pg_read_all_stats TO plain")
        await until(lambda: replicas(client)[0].reason is None)


async def test_address_that_leads_to_a_server_behind_is_not_read(
    cascade: Cluster, tmp_path: Path
) -> None:
    ahead, late = cascade.standbys
    link = tmp_path / "address"
    link.symlink_to(ahead.home)
    url = f"postgresql://postgres@/postgres?host={link}"
    settings = Settings(database_url=cascade.primary.url, read_database_url=url)
    async with serving(settings) as client:
        await until(lambda: replicas(client)[0].reason is None)
        async with asyncio.timeout(60):
            while not await query(late, "SELECT count(*) FROM primary_terms"):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await pause_replay(late)
        id_, _ = await create(client, "ada")
        await has_replayed_all(client)
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}
        link.unlink()
        link.symlink_to(late.home)
        await disconnect_clients(ahead.url)
        await until(lambda: replicas(client)[0].reason == "it is behind what was read from it")
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}
        await resume_replay(late)
        await until(lambda: replicas(client)[0].reason is None)
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}


async def disconnect_clients(url: str) -> None:
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = "
    await run_in(url, f"SELECT pg_terminate_backend(pid) {others} 'client backend'")


@pytest.fixture
def other() -> Iterator[Cluster]:
    with cluster(1) as made:
        yield made


async def test_standby_of_another_cluster_is_skipped(cascade: Cluster, other: Cluster) -> None:
    settings = Settings(
        database_url=cascade.primary.url,
        read_database_url=f"{cascade.standbys[0].url} {other.standbys[0].url}",
    )
    async with serving(settings) as client:
        await until(lambda: replicas(client)[0].reason is None)
        await until(lambda: replicas(client)[1].reason == "it does not follow the primary")
        id_, _ = await create(client, "ada")
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}


async def test_standby_that_crashed_is_used_again_when_it_has_caught_up(cascade: Cluster) -> None:
    crashed = cascade.standbys[1]
    async with served(cascade, read_consistency=ReadConsistency.TOKEN) as client:
        await asyncio.to_thread(kill, crashed)
        await until(lambda: replicas(client)[1].reason is not None)
        id_, position = await create(client, "ada")
        await asyncio.to_thread(crashed.start, SETTINGS)
        await until(lambda: replicas(client)[1].reason is None)
        for _ in range(10):
            shown = await post(client, USER, position, id=id_)
            assert shown[0] == {"user": {"username": "ada"}}


async def test_read_that_waits_for_a_replayed_lock_goes_to_the_primary(cascade: Cluster) -> None:
    settings: dict[str, Any] = {"is_patient": False, "read_consistency": ReadConsistency.TOKEN}
    async with served(cascade, **settings) as client:
        id_, _ = await create(client, "ada")
        await has_replayed_all(client)
        async with connected(cascade.primary) as migrating:
            await migrating.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            for standby in cascade.standbys:
                async with asyncio.timeout(60):
                    while not await query(standby, LOCKED):  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.01)
                await pause_replay(standby)
        assert (await post(client, USER, id=id_))[0] == {"user": {"username": "ada"}}
        assert [replica.reason for replica in replicas(client)] == [None, None]


async def test_error_of_a_replica_alone_is_not_shown(cascade: Cluster) -> None:
    async with served(cascade, read_consistency=ReadConsistency.TOKEN) as client:
        id_, position = await create(client, "ada")
        await has_replayed_all(client)
        asked = []

        async def fail(*_: object) -> list[Any]:
            asked.append(_)
            raise ProgrammingError("SELECT", None, Exception("column users.new does not exist"))

        for replica in replicas(client):
            replica.backend.reader.fetch = fail  # type: ignore[method-assign, assignment]
        assert (await post(client, USER, position, id=id_))[0] == {"user": {"username": "ada"}}
        assert len(asked) == 2
