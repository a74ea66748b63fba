"""Subscriptions over server-sent events, in process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from feed.feed import Feed
from tests.support.client import Client
from tests.support.sockets import (
    FEED,
)

ACCEPTS = {"accept": "text/event-stream"}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_feed_exception_sends_an_internal_error_with_an_id(client: Client) -> None:
    class Broken(Feed):
        @asynccontextmanager
        async def subscribe(self, *_: object) -> AsyncIterator[Any]:
            yield 1 / 0

    client.app.state.feed = Broken(client.database)
    async with client.http.stream("POST", "/graphql", json={"query": FEED}, headers=ACCEPTS) as it:
        lines = [line async for line in it.aiter_lines()]
    assert it.status_code == 200
    [data] = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    [error] = json.loads(data)["errors"]
    assert error["message"] == "Internal server error."
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
    assert set(error["extensions"]) == {"code", "id"}
