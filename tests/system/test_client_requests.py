"""Requests as client libraries send them, and the answers that they expect."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.process import serving_process
from tests.support.sockets import receive_message, send_message, socket

QUERY = "query Kind { __typename }"
ANSWER = {"data": {"__typename": "Query"}}
HASH = sha256(QUERY.encode()).hexdigest()
PERSISTED = {"persistedQuery": {"version": 1, "sha256Hash": HASH}}


async def test_websocket_accepts_persisted_query_hashes_and_empty_operation_names(
    tmp_path: Path,
) -> None:
    async with serving_process(tmp_path) as (_, url), socket(url) as live:
        for payload, expected in (
            ({"query": QUERY, "extensions": PERSISTED}, ANSWER),
            ({"query": QUERY, "operationName": "", "variables": []}, ANSWER),
        ):
            await send_message(live, {"id": "1", "type": "subscribe", "payload": payload})
            assert await receive_message(live) == {"id": "1", "type": "next", "payload": expected}
            assert await receive_message(live) == {"id": "1", "type": "complete"}
        await send_message(
            live, {"id": "1", "type": "subscribe", "payload": {"extensions": PERSISTED}}
        )
        error = await receive_message(live)
        assert [e["message"] for e in error["payload"]] == ["PersistedQueryNotSupported"]


NO_TOKEN = ["", " ", "Bearer", "Bearer ", "Bearer undefined", "bearer NULL"]


@pytest.mark.parametrize("authorization", NO_TOKEN)
async def test_websocket_init_with_an_empty_token_is_accepted(
    tmp_path: Path, authorization: str
) -> None:
    async with (
        serving_process(tmp_path) as (_, url),
        socket(url, init=False) as live,
    ):
        payload = {"Authorization": authorization}
        await send_message(live, {"type": "connection_init", "payload": payload})
        assert await receive_message(live) == {"type": "connection_ack"}
