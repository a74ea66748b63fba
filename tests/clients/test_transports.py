"""graphql-request, graphql-sse and graphql-ws: each transport without a cache."""

import pytest

from tests.clients.conftest import Workspace, cases

REQUEST, SSE, WEBSOCKET = (f"transports/{name}.mjs" for name in ("request", "sse", "websocket"))
BATCHES = "batchesAreAnsweredInTheirOrder"
TOKEN = "tokenOfConnectionParamsAuthenticates"  # noqa: S105 - the name of a function


@pytest.mark.parametrize("case", cases(REQUEST, without={BATCHES}))
async def test_graphql_request(workspace: Workspace, case: str) -> None:
    await workspace.run_case(REQUEST, case)


async def test_graphql_request_batches_are_answered_in_their_order(workspace: Workspace) -> None:
    await workspace.run_case(REQUEST, BATCHES, ROSTER_MAX_BATCH_SIZE="2")


@pytest.mark.parametrize("case", cases(SSE))
async def test_graphql_sse(workspace: Workspace, case: str) -> None:
    await workspace.run_case(SSE, case)


@pytest.mark.parametrize("case", cases(WEBSOCKET, without={TOKEN}))
async def test_graphql_ws(workspace: Workspace, case: str) -> None:
    await workspace.run_case(WEBSOCKET, case)


async def test_graphql_ws_token_of_connection_params_authenticates(
    workspace: Workspace, production: dict[str, str]
) -> None:
    await workspace.run_case(WEBSOCKET, TOKEN, **production)
