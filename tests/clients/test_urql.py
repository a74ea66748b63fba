"""urql with Graphcache."""

import pytest

from tests.clients.conftest import Workspace, cases


@pytest.mark.parametrize("case", cases("urql/graphcache.mjs"))
async def test_urql(workspace: Workspace, case: str) -> None:
    await workspace.run_case("urql/graphcache.mjs", case)
