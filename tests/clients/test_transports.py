"""graphql-request, graphql-sse and graphql-ws: each transport without a cache."""

import pytest

from tests.clients.conftest import Workspace, cases
from tests.support.signing import ISS, RSA, pem, token

BATCHES = "batchesAreAnsweredInTheirOrder"
TOKEN = "tokenOfConnectionParamsAuthenticates"  # noqa: S105 - the name of a function


@pytest.mark.parametrize("case", [n for n in cases("transports/request.mjs") if n != BATCHES])
async def test_graphql_request(workspace: Workspace, case: str) -> None:
    await workspace.run_case("transports/request.mjs", case)


async def test_graphql_request_batches_are_answered_in_their_order(workspace: Workspace) -> None:
    await workspace.run_case("transports/request.mjs", BATCHES, ROSTER_MAX_BATCH_SIZE="2")


@pytest.mark.parametrize("case", cases("transports/sse.mjs"))
async def test_graphql_sse(workspace: Workspace, case: str) -> None:
    await workspace.run_case("transports/sse.mjs", case)


@pytest.mark.parametrize("case", [n for n in cases("transports/websocket.mjs") if n != TOKEN])
async def test_graphql_ws(workspace: Workspace, case: str) -> None:
    await workspace.run_case("transports/websocket.mjs", case)


async def test_graphql_ws_token_of_connection_params_authenticates(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", token(scope="users:read"))
    settings = {
        "ROSTER_MODE": "production",
        "ROSTER_AUTH_ISSUER": ISS,
        "ROSTER_AUTH_AUDIENCE": "roster",
        "ROSTER_AUTH_PUBLIC_KEY": pem(RSA),
    }
    await workspace.run_case("transports/websocket.mjs", TOKEN, **settings)
