"""Batches of requests in one POST: rejected unless they are enabled, and limited in size."""

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.client import CREATE
from tests.support.process import http_client, serving_process
from tests.support.sockets import receive_message, send_message, socket, subscribe

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
TYPENAME = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}


def created(username: str) -> dict[str, Any]:
    values = {"username": username, "email": f"{username}@example.com"}
    return {"query": CREATE, "variables": {"input": values}}


def error_response(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


@sqlite
async def test_batch_without_a_token_is_rejected(database_url: str) -> None:
    settings = {"ROSTER_MAX_BATCH_SIZE": "5", "ROSTER_MODE": "production"}
    settings |= {"ROSTER_DATABASE_URL": database_url, "ROSTER_AUTH_API_KEYS": "true"}
    async with (
        serving_process(None, **settings) as (_, url),
        http_client(url) as http,
    ):
        answer = await http.post("/graphql", json=[created("ada")])
        assert answer.status_code == 401
        message = "A bearer token is required."
        assert answer.json() == error_response("UNAUTHENTICATED", message)


@sqlite
async def test_batch_over_a_websocket_closes_the_connection(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url, "ROSTER_MAX_BATCH_SIZE": "5"}
    batch = [TYPENAME, TYPENAME]
    async with serving_process(None, **settings) as (_, url):
        for junk in (batch, {"id": "1", "type": "subscribe", "payload": batch}):
            async with socket(url) as live:
                await send_message(live, junk)
                with pytest.raises(ConnectionClosed) as caught:
                    await receive_message(live)
                assert caught.value.rcvd
                assert caught.value.rcvd.code == 4400
        async with socket(url) as live:
            await subscribe(live, "1", "{ __typename }")
            assert (await receive_message(live))["payload"] == ANSWER
