"""The check of replicas: which servers queries cannot be read on, and why."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import asyncpg
import pytest

from db.checks.check import Check, Finding, Status, run_checks
from db.checks.inspected import Server
from db.checks.replicas import replicas
from db.poolers import Pooler
from db.url import parse_replica_urls, parse_url
from tests.conftest import run_in
from tests.db.checks.inspection import EXPECTED
from tests.support.replicas import Cluster, cluster


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    with cluster(1) as made:
        yield made


async def inspect(primary: str, *read: str) -> Finding:
    url = parse_url(primary)
    server = Server(url, url, Pooler.NONE, EXPECTED)
    urls = parse_replica_urls(" ".join(read))
    try:
        [found] = await run_checks([Check("replicas", partial(replicas, urls))], server)
    finally:
        await server.close()
    return found


async def until_exists(url: str) -> None:
    """Waits until a standby has replayed the creation of the role."""
    async with asyncio.timeout(60):
        while True:
            with suppress(asyncpg.InvalidAuthorizationSpecificationError):
                connection = await asyncpg.connect(url)
                await connection.close()
                return


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_servers_that_queries_cannot_be_read_on_are_warnings(
    replicated: Cluster, database_url: str
) -> None:
    primary, [standby] = replicated.primary.url, replicated.standbys
    found = await inspect(primary, standby.url, primary)
    assert (found.status, found.detail) == (Status.OK, "queries can be read on 1 of 2")
    found = await inspect(primary, primary)
    assert found.status is Status.WARNING
    assert found.detail == "none of them is a standby: the primary answers everything"

    await run_in(primary, 'CREATE ROLE "Plain" LOGIN')
    plain = standby.url.replace("//postgres@", "//Plain@")
    await until_exists(plain)
    found = await inspect(primary, primary, plain)
    assert found.status is Status.WARNING
    assert found.detail.endswith(": its role lacks the privileges of pg_read_all_stats")
    assert found.fix == 'on the primary: GRANT pg_read_all_stats TO "Plain"'

    away = "postgresql://ada:s3cret@127.0.0.1:1/roster"
    found = await inspect(primary, standby.url, database_url, away)
    assert found.status is Status.WARNING
    other, refused = found.detail.split("; ")
    assert other.endswith(": it belongs to another cluster than the primary")
    assert refused.startswith("127.0.0.1:1: ")
    assert "s3cret" not in refused
