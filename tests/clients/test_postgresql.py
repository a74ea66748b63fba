"""The decisive tests of each client once more, with a server on PostgreSQL."""

import pytest

from tests.clients.conftest import Workspace, cases
from tests.clients.test_relay import compile_documents

CASES = {
    "apollo/cache.mjs": [
        "pagesAreAppendedAndPrepended",
        "createdUserEdgeIsAddedToTheList",
        "conflictUpdatesTheCachedUser",
        "eventsInBothOrdersAreSeparateLists",
    ],
    "apollo/links.mjs": ["sseLinkDeliversEvents", "webSocketLinkDeliversEvents"],
    "urql/graphcache.mjs": [
        "relayPaginationGoesInBothDirections",
        "updatesAddTheCreatedEdgeAndInvalidateTheDeletedUser",
        "subscriptionUpdatesCachedUsers",
    ],
    "transports/sse.mjs": ["cutStreamContinuesAfterTheLastEvent"],
    "transports/websocket.mjs": ["closedSocketIsReopenedAndContinuesAfterTheLastEvent"],
    "relay/store.mjs": ["createdEdgeIsPrepended", "subscriptionUpdatesStoredUsers"],
    "relay/hooks.mjs": ["paginationFragmentLoadsThePreviousPages"],
}


@pytest.mark.parametrize("dialect", ["postgresql"])
@pytest.mark.parametrize(("script", "case"), [(s, case) for s in CASES for case in CASES[s]])
async def test_client_works_on_postgresql(
    workspace: Workspace, database_url: str, script: str, case: str
) -> None:
    if script.startswith("relay/"):
        await compile_documents(workspace)
    assert case in cases(script)
    await workspace.run_case(script, case, ROSTER_DATABASE_URL=database_url)
