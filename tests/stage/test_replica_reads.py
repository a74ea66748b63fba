"""Read-your-writes and monotonic reads behind two servers while replicas lag, stop and return."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.stage.figures import record
from tests.support.replica_checks import CALLERS, checked
from tests.support.replicas import Cluster, cluster
from tests.support.session_guarantees import Report

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "100000"))
SEED = os.environ.get("REPLICA_SEED", "1")


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    """The last of three standbys follows the second, which is promoted."""
    with cluster(3, cascading=True) as made:
        yield made


def run(made: Cluster, consistency: str, clients: str, operations: int) -> Report:
    report, faults = asyncio.run(checked(made, consistency, clients, operations, SEED))
    record(
        "Reads on replicas",
        consistency=consistency,
        clients=clients,
        operations=report.operations.total(),
        reads=report.reads,
        faults=faults,
        violations=len(report.violations),
        errors=sum(report.errors.values()),
        seconds=report.seconds,
    )
    return report


@pytest.mark.parametrize(
    ("consistency", "clients"),
    [("token", "send, roam"), ("caller", "send, roam"), ("caller", "stay")],
)
def test_callers_see_their_writes_and_nothing_older(
    replicated: Cluster, consistency: str, clients: str
) -> None:
    report = run(replicated, consistency, clients, OPERATIONS)
    assert report.violations == []
    assert not report.errors
    assert report.operations.total() >= OPERATIONS - 2 * CALLERS


@pytest.mark.parametrize(("consistency", "clients"), [("token", "stay"), ("caller", "roam")])
def test_checker_finds_violations_without_the_guarantee(
    replicated: Cluster, consistency: str, clients: str
) -> None:
    assert run(replicated, consistency, clients, OPERATIONS // 10).violations
