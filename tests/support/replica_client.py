"""An application that reads on replicas, and requests with positions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from db.engine import Database
from db.replication.servers import Replica
from db.timing import DEFAULT
from graph.settings import Settings
from tests.support.client import CREATE, Client, serving
from tests.support.replicas import Cluster, pause_replay, resume_replay

HEADER = "roster-position"


class _PatientSettings(Settings):
    """Settings with which replicas that are slow for a while stay in use."""

    def _database(self, url: str, **options: Any) -> Database:
        timing = replace(DEFAULT, replica_answer=60)
        return super()._database(url, **options, timing=timing)


@asynccontextmanager
async def served(
    made: Cluster, *, is_patient: bool = True, **settings: Any
) -> AsyncIterator[Client]:
    """Serve with all replicas, and wait until they are used.

    Reads of a replica that is slow or behind go to the primary only if not `is_patient`.
    """
    parameters = {"database_url": made.primary.url, "read_database_url": made.read_url}
    kind = Settings
    if is_patient:
        kind, parameters["read_max_lag"] = _PatientSettings, "3600"
    async with serving(kind(**parameters | settings)) as client:
        await until(lambda: all(replica.reason is None for replica in replicas(client)))
        yield client


def replicas(client: Client) -> list[Replica]:
    assert client.database.replicas
    return list(client.database.replicas.replicas)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def has_replayed_all(client: Client) -> None:
    """Wait until the replicas have what the primary has now."""
    await has_replayed(client, replicas(client))


async def has_replayed(client: Client, wanted: Sequence[Replica]) -> None:
    assert client.database.replicas
    position = (await client.database.replicas.primary.monitor.measure())["lsn"]
    await until(lambda: all(r.position and r.position.lsn >= position for r in wanted))


@asynccontextmanager
async def behind(client: Client, made: Cluster) -> AsyncIterator[None]:
    """Within this context, the replicas show what the primary has now, and nothing later."""
    await has_replayed_all(client)
    for standby in made.standbys:
        await pause_replay(standby)
    try:
        yield
    finally:
        for standby in made.standbys:
            await resume_replay(standby)


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
