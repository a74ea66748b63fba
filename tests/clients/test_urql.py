"""urql with Graphcache."""

import pytest

from tests.clients.conftest import Workspace, cases

GRAPHCACHE = "urql/graphcache.mjs"
AUTHORS = "authorsWithTheSameIdAreNotMerged"


@pytest.mark.parametrize("case", cases(GRAPHCACHE, without={AUTHORS}))
async def test_urql(workspace: Workspace, case: str) -> None:
    await workspace.run_case(GRAPHCACHE, case)


async def test_urql_authors_with_the_same_id_are_not_merged(
    workspace: Workspace, production: dict[str, str]
) -> None:
    await workspace.run_case(GRAPHCACHE, AUTHORS, **production)
