"""Queries on replicas: which server answers, and what callers are certain to see."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.replication.router import ReadConsistency
from db.replication.servers import Replica
from graph.settings import Settings
from tests.support.client import CREATE, Client, serving
from tests.support.replicas import (
    Cluster,
    cluster,
    freeze,
    pause_replay,
    resume,
    resume_replay,
)

HEADER = "roster-position"
COUNT = "{ users { totalCount } }"
USER = "query ($id: ID!) { user(id: $id) { username } }"


@pytest.fixture(scope="module")
def two_standbys() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@asynccontextmanager
async def served(made: Cluster, **settings: Any) -> AsyncIterator[Client]:
    """Serve with both replicas, and wait until they are used."""
    parameters = {"database_url": made.primary.url, "read_database_url": made.read_url}
    async with serving(Settings(**parameters | settings)) as client:
        await until(lambda: all(replica.reason is None for replica in replicas(client)))
        yield client


def replicas(client: Client) -> list[Replica]:
    assert client.database.replicas
    return list(client.database.replicas.replicas)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def has_replayed_all(client: Client) -> None:
    """Wait until the replicas have what the primary has now."""
    assert client.database.replicas
    position = (await client.database.replicas.primary.monitor.measure())["lsn"]
    await until(lambda: all(r.position and r.position.lsn >= position for r in replicas(client)))


async def post(
    client: Client, query: str, position: str | None = None, **variables: Any
) -> tuple[Any, str | None]:
    """Return the data of a response, and its position."""
    response = await client.http.post(
        "/graphql",
        json={"query": query, "variables": variables},
        headers={} if position is None else {HEADER: position},
    )
    body = response.json()
    assert "errors" not in body, body
    told = response.headers.get(HEADER)
    assert body.get("extensions", {}).get("rosterPosition") == told
    return body["data"], told


async def create(client: Client, name: str) -> tuple[str, str]:
    """Create a user. Return the id, and the position of the response."""
    values = {"username": name, "email": f"{name}@example.com"}
    data, position = await post(client, CREATE, input=values)
    assert position is not None
    return data["createUser"]["user"]["id"], position


async def test_query_shows_a_paused_replica_unless_the_position_is_sent(
    two_standbys: Cluster,
) -> None:
    async with served(two_standbys, read_consistency=ReadConsistency.TOKEN) as client:
        await has_replayed_all(client)
        for standby in two_standbys.standbys:
            await pause_replay(standby)
        try:
            id_, position = await create(client, "paused")
            assert await post(client, USER, id=id_) == ({"user": None}, None)
            data, later = await post(client, USER, position, id=id_)
            assert data == {"user": {"username": "paused"}}
            assert later is not None
            assert later >= position
            assert (await post(client, USER, "primary", id=id_))[0] == data
        finally:
            for standby in two_standbys.standbys:
                await resume_replay(standby)
        await has_replayed_all(client)
        assert (await post(client, USER, id=id_))[0] == data


async def test_caller_sees_own_writes_while_replicas_are_paused(two_standbys: Cluster) -> None:
    async with served(two_standbys) as client:
        await has_replayed_all(client)
        for standby in two_standbys.standbys:
            await pause_replay(standby)
        try:
            id_, _ = await create(client, "own")
            assert (await post(client, USER, id=id_))[0] == {"user": {"username": "own"}}
        finally:
            for standby in two_standbys.standbys:
                await resume_replay(standby)


async def test_replica_that_is_frozen_is_skipped(two_standbys: Cluster) -> None:
    async with served(two_standbys, read_consistency=ReadConsistency.TOKEN) as client:
        expected = await post(client, COUNT)
        frozen, other = two_standbys.standbys
        freeze(frozen)
        try:
            answers = await asyncio.gather(*(post(client, COUNT) for _ in range(20)))
            assert answers == [expected] * 20
            await until(lambda: replicas(client)[0].reason is not None)
            assert replicas(client)[1].reason is None
            freeze(other)
            answers = await asyncio.gather(*(post(client, COUNT) for _ in range(20)))
            assert answers == [expected] * 20
        finally:
            resume(frozen)
            resume(other)
        await until(lambda: all(replica.reason is None for replica in replicas(client)))
        assert await post(client, COUNT) == expected
