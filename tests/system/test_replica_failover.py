"""Reads on replicas over a failover: positions of the former primary, and of the new one."""

import asyncio
from collections.abc import Iterator

import pytest

from db.replication.position import parse_position
from db.replication.router import ReadConsistency
from graph.settings import Settings
from tests.conftest import run_in
from tests.support.client import CREATE, Client, serving
from tests.support.replica_client import create, has_replayed, post, replicas, until
from tests.support.replicas import Cluster, cluster, kill

USER = "query ($id: ID!) { user(id: $id) { username } }"
FORMER, PROMOTED, OTHER = range(3)


@pytest.fixture
def made() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


async def test_queries_continue_and_replicas_are_those_of_the_new_primary(made: Cluster) -> None:
    promoted, other = made.standbys
    hosts = ",".join(str(server.home) for server in (made.primary, *made.standbys))
    url = f"postgresql://postgres@/postgres?host={hosts}"
    settings = Settings(
        database_url=url, read_database_url=url, read_consistency=ReadConsistency.TOKEN
    )
    async with serving(settings) as client:
        await until(lambda: reasons(client) == ["it is not a standby", None, None])
        ada, before = await create(client, "ada")
        await has_replayed(client, replicas(client)[PROMOTED:])
        await asyncio.to_thread(kill, made.primary)
        await asyncio.to_thread(promoted.promote)
        source = f"host={promoted.home} user=postgres"
        await run_in(other.url, f"ALTER SYSTEM SET primary_conninfo = '{source}'")
        await run_in(other.url, "SELECT pg_reload_conf()")
        eve, soon = await create_soon(client, "eve")  # "primary" while the servers are not measured
        await until(lambda: reasons(client)[PROMOTED:] == ["it is not a standby", None])
        _, after = await create(client, "fay")
        for position in (soon, after):
            assert position > before
            assert position.split("-")[:2] != before.split("-")[:2]
        for position in (before, soon, after, f"{before},{after}"):
            shown = [(await post(client, USER, position, id=id_))[0] for id_ in (ada, eve)]
            assert shown == [{"user": {"username": name}} for name in ("ada", "eve")]
        assert client.database.replicas
        router, wanted = client.database.replicas, parse_position(after)
        await until(lambda: router.choose("", wanted) is replicas(client)[OTHER])
        assert router.choose("", parse_position(before)) is None
        assert reasons(client)[FORMER] is not None


def reasons(client: Client) -> list[str | None]:
    return [replica.reason for replica in replicas(client)]


async def create_soon(client: Client, name: str) -> tuple[str, str]:
    """Create a user as soon as the new primary accepts it."""
    values = {"username": name, "email": f"{name}@example.com"}
    async with asyncio.timeout(60):
        while "errors" in (answer := await client.send(CREATE, input=values)):
            assert answer["errors"][0]["extensions"]["outcome"] == "NOT_DONE"
            await asyncio.sleep(0.05)
    return answer["data"]["createUser"]["user"]["id"], answer["extensions"]["rosterPosition"]
