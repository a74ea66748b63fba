"""Queries on replicas: which server answers, and what callers are certain to see."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from db.replication.router import ReadConsistency
from tests.support.client import CREATE, Client
from tests.support.replica_client import (
    HEADER,
    behind,
    create,
    has_replayed_all,
    post,
    replicas,
    served,
    until,
)
from tests.support.replicas import Cluster, cluster, freeze, resume

COUNT = "{ users { totalCount } }"
USER = "query ($id: ID!) { user(id: $id) { username } }"
TOKEN = ReadConsistency.TOKEN


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


async def test_query_shows_a_paused_replica_unless_the_position_is_sent(made: Cluster) -> None:
    async with served(made, read_consistency=TOKEN) as client:
        async with behind(client, made):
            id_, position = await create(client, "paused")
            assert await post(client, USER, id=id_) == ({"user": None}, None)
            data, later = await post(client, USER, position, id=id_)
            assert data == {"user": {"username": "paused"}}
            assert later is not None
            assert later >= position
            for sent in ("primary", "unknown", f"{position},"):
                assert (await post(client, USER, sent, id=id_))[0] == data
        await has_replayed_all(client)
        assert await post(client, USER, id=id_) == (data, None)


async def test_query_with_an_empty_position_returns_that_of_the_replica(made: Cluster) -> None:
    async with served(made, read_consistency=TOKEN) as client:
        _, before = await create(client, "before")
        async with behind(client, made):
            _, after = await create(client, "after")
            _, position = await post(client, COUNT, "")
            assert position is not None
            assert before <= position < after


async def test_caller_sees_own_writes_while_replicas_are_paused(made: Cluster) -> None:
    async with served(made) as client, behind(client, made):
        id_, _ = await create(client, "own")
        for _ in range(3):
            assert (await post(client, USER, id=id_))[0] == {"user": {"username": "own"}}


EVENT = """mutation ($id: ID!) { updateUser(input: {id: $id, displayName: "Later"}) {
  user { history(last: 1) { nodes { id } } } errors { code } } }"""
ON_THE_PRIMARY = [
    "{ userEvents(last: 1) { nodes { user { displayName } } } }",
    "query ($id: ID!) { user(id: $id) { history(last: 1) { nodes { user { displayName } } } } }",
    "{ users(first: 1) { followFrom nodes { displayName } } }",
    "query ($event: ID!) { node(id: $event) { ... on UserEvent { user { displayName } } } }",
    "query ($id: ID!) { personalData(userId: $id) }",
    'mutation { deleteUser(input: {id: "0"}) { query { users { nodes { displayName } } } } }',
]
ON_A_REPLICA = [
    USER.replace("username", "displayName"),
    "{ users { nodes { displayName } } }",
    "query ($id: ID!) { node(id: $id) { ... on User { displayName } } }",
    "query ($id: ID!) { nodes(ids: [$id]) { ... on User { displayName } } }",
    '{ userBy(by: {username: "routed"}) { displayName } }',
]


async def test_fields_of_the_feed_are_read_on_the_primary(made: Cluster) -> None:
    async with served(made, read_consistency=TOKEN) as client:
        id_, _ = await create(client, "routed")
        async with behind(client, made):
            data, _ = await post(client, EVENT, id=id_)
            [event] = data["updateUser"]["user"]["history"]["nodes"]
            for expected, queries in ((True, ON_THE_PRIMARY), (False, ON_A_REPLICA)):
                for query in queries:
                    shown, _ = await post(client, query, id=id_, event=event["id"])
                    assert ("Later" in json.dumps(shown)) is expected, query


async def test_batch_and_extensions_continue_from_a_position(made: Cluster) -> None:
    settings: dict[str, Any] = {"read_consistency": TOKEN, "max_batch_size": 5}
    async with served(made, **settings) as client, behind(client, made):
        values = {"input": {"username": "batched", "email": "batched@example.com"}}
        read: dict[str, Any] = {"query": '{ userBy(by: {username: "batched"}) { username } }'}
        write: dict[str, Any] = {"query": CREATE, "variables": values}
        response = await client.http.post("/graphql", json=[read, write, read])
        shown = [each["data"].get("userBy") for each in response.json()]
        assert shown == [None, None, {"username": "batched"}]
        position = response.headers[HEADER]
        assert response.json()[2]["extensions"] == {"rosterPosition": position}
        sent = read | {"extensions": {"rosterPosition": position}}
        answer = (await client.http.post("/graphql", json=sent)).json()
        assert answer["data"] == {"userBy": {"username": "batched"}}
        wrong = read | {"extensions": {"rosterPosition": 1}}
        refused = (await client.http.post("/graphql", json=wrong)).json()
        assert refused["errors"][0]["message"] == "`rosterPosition` must be a string."


def is_skipped(client: Client, number: int) -> bool:
    return replicas(client)[number].reason is not None


async def test_replicas_that_are_frozen_are_skipped(made: Cluster) -> None:
    async with served(made, is_patient=False, read_consistency=TOKEN) as client:
        expected = await post(client, COUNT)
        try:
            for number, frozen in enumerate(made.standbys):
                freeze(frozen)
                answers = await asyncio.gather(*(post(client, COUNT) for _ in range(20)))
                assert answers == [expected] * 20
                await until(partial(is_skipped, client, number))
        finally:
            for frozen in made.standbys:
                resume(frozen)
        await until(lambda: all(replica.reason is None for replica in replicas(client)))
        assert await post(client, COUNT) == expected
