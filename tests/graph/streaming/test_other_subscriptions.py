"""Subscriptions that someone adds to the schema by Strawberry's documentation."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension

from graph.api.subscriptions import Subscription
from graph.execution.schema import Schema
from graph.protocol.request import Request
from tests.support.callers import DirectoryClient, service

closed: list[str] = []


@strawberry.type
class More(Subscription):
    @strawberry.subscription
    async def count(self, to: int = 2) -> AsyncGenerator[int, None]:
        try:
            for number in range(to):
                yield number
        finally:
            closed.append("count")

    @strawberry.subscription
    async def breaking(self) -> AsyncGenerator[int, None]:
        yield 1
        raise ZeroDivisionError("broke")


@pytest.fixture(params=[[], [SchemaExtension]], ids=["compiled", "extended"])
def other(request: pytest.FixtureRequest, directory: DirectoryClient) -> DirectoryClient:
    schema = Schema(subscription=More, extensions=request.param)
    return DirectoryClient(directory.database, directory.feed, directory.live, schema)


async def followed(client: DirectoryClient, query: str) -> AsyncGenerator[Any, None]:
    async for batch in client.follow(service(), query):
        for text in batch.texts:
            yield json.loads(text)


async def test_other_subscription_delivers_each_value(other: DirectoryClient) -> None:
    results = [result async for result in followed(other, "subscription { count(to: 3) }")]
    assert results == [{"data": {"count": number}} for number in range(3)]


async def test_other_subscription_begins_at_once(other: DirectoryClient) -> None:
    context = other.context(service())
    begun = asyncio.Event()
    context.on_begun = begun.set
    operation = await other.schema.prepare(Request("subscription { count }"), context)
    results = other.live.results(operation)
    await anext(results)
    assert begun.is_set()
    closed.clear()
    await results.aclose()
    assert closed == ["count"]


async def test_exception_of_another_subscription_ends_it(other: DirectoryClient) -> None:
    first, last = [result async for result in followed(other, "subscription { breaking }")]
    assert first == {"data": {"breaking": 1}}
    [error] = last.pop("errors")
    assert (last, error["message"]) == ({"data": None}, "Internal server error.")
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
