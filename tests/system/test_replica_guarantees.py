"""A part of the stage: callers of two server processes while standbys lag and stop."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.replica_checks import checked
from tests.support.replicas import Cluster, cluster

OPERATIONS, SEED = 1_200, "1"


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    with cluster(2) as made:
        yield made


@pytest.mark.parametrize(
    ("consistency", "clients", "is_guaranteed"),
    [("token", "send, roam", True), ("caller", "stay", True), ("token", "roam", False)],
)
def test_guarantee_holds_and_the_checker_notices_its_absence(
    replicated: Cluster, consistency: str, clients: str, *, is_guaranteed: bool
) -> None:
    report, _ = asyncio.run(checked(replicated, consistency, clients, OPERATIONS, SEED))
    assert not report.errors
    assert (report.violations == []) is is_guaranteed
