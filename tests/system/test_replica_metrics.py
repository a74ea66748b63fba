"""Metrics of replicas: whether they are used, and how far they are behind."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from graph.app import PATH
from graph.metrics.observer import Metrics
from graph.settings import Settings
from tests.graph.metrics.test_metrics import published
from tests.support.client import serving
from tests.support.replica_client import create, until
from tests.support.replicas import Cluster, cluster, pause_replay, resume_replay

USED, LAG = "roster_replica_used", "roster_replica_lag_seconds"


@pytest.fixture
def one_standby() -> Iterator[Cluster]:
    with cluster(1) as made:
        yield made


async def test_replica_that_is_too_far_behind_is_not_used(one_standby: Cluster) -> None:
    [standby] = one_standby.standbys
    # The primary is a host of the URL too, as it is after a failover.
    settings = Settings(
        database_url=one_standby.primary.url,
        read_database_url=f"{one_standby.primary.url} {standby.url}",
        read_max_lag=2,
    )
    registry = CollectorRegistry()

    def values(name: str) -> list[float]:
        found = published(registry)
        return [sample.value for sample in found.samples if sample.name == name]

    async with serving(settings, [Metrics(registry, PATH)]) as client:
        await until(lambda: values(USED) == [0, 1])
        await until(lambda: values(LAG)[1] == 0)
        await pause_replay(standby)
        await create(client, "mia")
        await until(lambda: values(USED) == [0, 0] and values(LAG)[1] > 2)
        await resume_replay(standby)
        await until(lambda: values(USED) == [0, 1])
        await until(lambda: values(LAG)[1] == 0)
    names = {s.labels["replica"] for s in published(registry).samples if s.name == USED}
    assert len(names) == 2
