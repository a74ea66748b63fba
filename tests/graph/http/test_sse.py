"""When the stream of an operation begins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import OperationType

from feed.feed import Feed
from feed.reader import ALL_EVENTS
from graph.api.context import Context
from graph.api.global_ids import encode_user
from graph.api.subscriptions import EventSubscription
from graph.http.sse import events
from graph.shutdown import Shutdown
from graph.streaming.chunks import ResultBatch
from tests.support.callers import service
from tests.support.client import Client
from users.policy import Scope

OPEN = b":\n\n"


class HeldResults:
    """Results of an operation that come when the test sets `come`."""

    def __init__(self) -> None:
        self.come = asyncio.Event()

    async def results(self, _: Any) -> AsyncIterator[ResultBatch]:
        await self.come.wait()
        yield ResultBatch([b"{}"])


def operation(type_: OperationType) -> Any:
    context = SimpleNamespace(
        observed=None, request_id="r", on_begun=None, feed=SimpleNamespace(is_stopping=False)
    )
    return SimpleNamespace(type=type_, context=context)


async def never() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("type_", OperationType)
async def test_stream_of_a_subscription_opens_when_it_has_begun(type_: OperationType) -> None:
    live: Any = HeldResults()
    asked = operation(type_)
    async with aclosing(events(live, asked, never, nullcontext(), Shutdown(60))) as stream:
        first = asyncio.ensure_future(anext(stream))
        for _ in range(10):
            await asyncio.sleep(0)
        assert first.done() is (type_ is not OperationType.SUBSCRIPTION)
        asked.context.on_begun()
        asked.context.on_begun()
        assert await first == OPEN
        live.come.set()
        assert [part async for part in stream] == [
            b"event: next\ndata: {}\n\n",
            b"event: complete\ndata:\n\n",
        ]


async def test_subscription_that_has_begun_delivers_what_happens_then(client: Client) -> None:
    feed = Feed(client.database)
    async with asyncio.timeout(60), client.database.session() as session:
        context = Context(session, feed, service(*Scope), "r")
        begun = asyncio.Event()
        context.on_begun = begun.set
        source = EventSubscription(context, None, ALL_EVENTS, lambda error: error)
        async with aclosing(source.batches()) as batches:
            coming = asyncio.ensure_future(anext(batches))
            await begun.wait()
            created = await client.create("ada")
            assert [encode_user(event.user_id) for event in await coming] == [created["id"]]
    await feed.close()
