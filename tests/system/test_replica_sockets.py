"""Positions over WebSocket, and reads of callers who follow the feed."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.client import CREATE
from tests.support.process import http_client, serving_process
from tests.support.replicas import Cluster, cluster, pause_replay, query, resume_replay
from tests.support.sockets import event, receive_message, send_message, socket, subscribe

USER = "query ($id: ID!) { user(id: $id) { username } }"


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster(1) as made:
        yield made


@asynccontextmanager
async def two_servers(made: Cluster, consistency: str) -> AsyncIterator[tuple[str, str]]:
    """Yield the URLs of a server that reads on the replica, and of one that does not."""
    settings: dict[str, Any] = {"ROSTER_DATABASE_URL": made.primary.url}
    reading = settings | {
        "ROSTER_READ_DATABASE_URL": made.read_url,
        "ROSTER_READ_CONSISTENCY": consistency,
        "ROSTER_READ_MAX_LAG": "3600",
    }
    async with (
        serving_process(**reading) as (process, url),
        serving_process(**settings) as (_, other),
    ):
        await log_says(process, b"a replica is used")
        yield url, other


async def log_says(process: Process, text: bytes) -> None:
    assert process.stdout
    while text not in await asyncio.wait_for(process.stdout.readline(), 60):
        pass


@asynccontextmanager
async def paused(made: Cluster) -> AsyncIterator[None]:
    [standby] = made.standbys
    at = await query(made.primary, "SELECT pg_current_wal_lsn()")
    async with asyncio.timeout(60):
        while await query(standby, "SELECT pg_last_wal_replay_lsn()") < at:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    await pause_replay(standby)
    try:
        yield
    finally:
        await resume_replay(standby)


async def create(url: str, name: str) -> tuple[str, str]:
    """Create a user. Return the id, and the position if the server has replicas."""
    values = {"username": name, "email": f"{name}@example.com"}
    async with http_client(url) as http:
        response = await http.post(
            "/graphql", json={"query": CREATE, "variables": {"input": values}}
        )
    answer = response.json()
    position = answer.get("extensions", {}).get("rosterPosition", "")
    return answer["data"]["createUser"]["user"]["id"], position


async def ask(connection: ClientConnection, id_: str, **members: Any) -> Any:
    """Return the payload of the answer to a query over the socket."""
    payload = {"query": USER, "variables": {"id": id_}, **members}
    await send_message(connection, {"id": "query", "type": "subscribe", "payload": payload})
    answer = await receive_message(connection)
    assert (answer["id"], answer["type"]) == ("query", "next"), answer
    assert (await receive_message(connection))["type"] == "complete"
    return answer["payload"]


async def until_hidden(connection: ClientConnection, id_: str) -> None:
    """Repeats a query until the replica answers it: while that is slow, the primary does."""
    async with asyncio.timeout(60):
        while await ask(connection, id_) != {"data": {"user": None}}:
            pass


@pytest.mark.parametrize(("consistency", "is_shown"), [("caller", True), ("token", False)])
async def test_follower_reads_what_the_feed_has_delivered(
    made: Cluster, consistency: str, *, is_shown: bool
) -> None:
    async with (
        two_servers(made, consistency) as (url, other),
        socket(url) as following,
        socket(url) as asking,
        paused(made),
    ):
        await subscribe(following)
        await ask(following, "")  # waits until the subscription has begun
        name = f"followed-{consistency}"
        id_, _ = await create(other, name)
        assert (await event(following))["userId"] == id_
        if is_shown:
            assert (await ask(asking, id_))["data"] == {"user": {"username": name}}
        else:
            await until_hidden(asking, id_)


async def test_position_is_sent_with_the_socket_or_the_operation(made: Cluster) -> None:
    async with two_servers(made, "token") as (url, _), paused(made):
        id_, position = await create(url, "positioned")
        shown = {"user": {"username": "positioned"}}
        async with socket(url) as connection:
            await until_hidden(connection, id_)
            answer = await ask(connection, id_, extensions={"rosterPosition": position})
            assert answer["data"] == shown
            assert answer["extensions"]["rosterPosition"] >= position
        async with socket(url, init=False) as connection:
            payload = {"rosterPosition": position}
            await send_message(connection, {"type": "connection_init", "payload": payload})
            assert await receive_message(connection) == {"type": "connection_ack"}
            answer = await ask(connection, id_)
            assert answer["data"] == shown
            assert answer["extensions"]["rosterPosition"] >= position
