"""Subscriptions over real sockets, against real server processes."""

import asyncio
import json
import random
import signal
import socket as socket_module
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from websockets.asyncio.client import ClientConnection, connect

from db.engine import Database
from tests.conftest import opened
from tests.support.client import CREATE
from tests.support.cursors import cursor_at, id_at
from tests.support.feed import Writer, committed_ids
from tests.support.process import http_client, resident, serving_process
from tests.support.sockets import (
    FEED,
    PROTOCOL,
    address,
    ask,
    closed,
    event,
    receive_message,
    send_message,
    socket,
    stream,
    subscribe,
    until_closed,
)

DELETE = "mutation ($input: DeleteUserInput!) { deleteUser(input: $input) { changed } }"
ERASE = "mutation ($input: EraseUserInput!) { eraseUser(input: $input) { errors { code } } }"
BULK = "mutation ($input: BulkUsersInput!) { bulkUsers(input: $input) { succeeded } }"
CURSORS = """{ users(first: 100, orderBy: [{field: CREATED_AT}]) { nodes {
  history { nodes { cursor } } } } }"""


async def create(url: str, name: str) -> str:
    values = {"username": name, "email": f"{name}@example.com"}
    payload = await ask(url, CREATE, input=values)
    assert payload["errors"] == []
    return str(payload["user"]["id"])


async def test_subscriber_receives_past_and_new_events(database_url: str) -> None:
    async with serving_process(ROSTER_DATABASE_URL=database_url) as (_, url):
        ids = [await create(url, f"user{n}") for n in range(3)]
        users = (await ask(url, CURSORS))["nodes"]
        first = users[0]["history"]["nodes"][0]["cursor"]
        listed = await ask(url, "{ userEvents(first: 2) { pageInfo { endCursor } } }")
        async with socket(url) as live:
            await subscribe(live, "history", after=first)
            await subscribe(live, "list", after=listed["pageInfo"]["endCursor"])
            deleted = {"userId": [ids[0]], "type": ["DELETED"]}
            await subscribe(live, "deleted", after=first, filter=deleted)
            received: dict[str, list[Any]] = {"history": [], "list": [], "deleted": []}
            await ask(url, DELETE, input={"id": ids[0]})
            await ask(url, DELETE, input={"id": ids[1]})
            while sum(map(len, received.values())) < 4 + 3 + 1:
                message = await receive_message(live)
                found = message["payload"]["data"]["userEvents"]
                received[message["id"]].append((found["type"], found["userId"]))
            whole = [("CREATED", i) for i in ids] + [("DELETED", i) for i in ids[:2]]
            assert received == {"history": whole[1:], "list": whole[2:], "deleted": whole[3:4]}
        values = {"id": ids[0], "confirmUsername": "user0", "reason": "asked"}
        assert await ask(url, ERASE, input=values) == {"errors": []}
        async with socket(url) as live:  # the cursor of an erased user's event stays valid
            await subscribe(live, after=first)
            assert [(await event(live))["userId"] for _ in range(5)] == [*ids[1:], *ids[:2], ids[0]]


async def test_event_stream_delivers_the_same_feed(database_url: str) -> None:
    async with serving_process(ROSTER_DATABASE_URL=database_url) as (_, url):
        await create(url, "ada")
        await create(url, "bob")
        async with stream(url, after=await cursor_at(database_url, 1)) as lines:
            await create(url, "cleo")
            for expected in (2, 3):
                assert await anext(lines) == "event: next"
                data = json.loads((await anext(lines)).removeprefix("data: "))
                received = data["data"]["userEvents"]["cursor"]
                assert received == await cursor_at(database_url, expected)
        async with stream(url, "{ users { totalCount } }") as lines:
            assert [line async for line in lines] == [
                "event: next",
                'data: {"data":{"users":{"totalCount":3}}}',
                "event: complete",
                "data:",
            ]
        async with stream(url, after="nonsense") as lines:
            rejected = [line async for line in lines]
            assert json.loads(rejected[1].removeprefix("data: "))["errors"][0]["extensions"] == {
                "code": "INVALID_CURSOR"
            }
            assert rejected[2:] == ["event: complete", "data:"]


EVENT_SOURCE = {"accept": "text/event-stream"}
USER_IDS = "subscription { userEvents { userId } }"
EMPTY_CURSOR = 'subscription { userEvents(after: "") { userId } }'


async def next_user_ids(lines: AsyncIterator[str], count: int) -> list[str]:
    """Returns the ids of the users of the next events of a stream."""
    found: list[str] = []
    async for line in lines:
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            found.append(data["data"]["userEvents"]["userId"])
        if len(found) == count:
            break
    return found


async def test_event_source_resumes_on_another_server_after_its_last_event(
    database_url: str,
) -> None:
    """Like EventSource (HTML, 9.2), it sends the id of the last event that it received."""
    settings = {"ROSTER_DATABASE_URL": database_url}
    params = {"query": USER_IDS}
    async with serving_process(None, **settings) as (_, two), http_client(two) as http:
        async with (
            serving_process(None, **settings) as (process, one),
            http_client(one) as first,
            first.stream("GET", "/graphql", params=params, headers=EVENT_SOURCE) as response,
        ):
            lines = response.aiter_lines()
            assert await anext(lines) == ":"  # the subscription is active
            ids = [await create(one, "ada")]
            received = [await anext(lines) for _ in range(5)]
            process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines if line and line != ":"]
        assert rest[0] == "retry: 1000"
        assert received[1] == "event: next"
        data = json.loads(received[2].removeprefix("data: "))
        assert data == {"data": {"userEvents": {"userId": ids[0]}}}
        name, _, last = received[3].partition(": ")
        assert (name, last) == ("id", (await ask(two, CURSOR_LIST))["nodes"][0]["cursor"])
        ids += [await create(two, "bob"), await create(two, "cleo")]
        again = EVENT_SOURCE | {"last-event-id": last}
        for query in (USER_IDS, EMPTY_CURSOR):  # the header takes precedence over the argument
            async with http.stream(
                "GET", "/graphql", params={"query": query}, headers=again
            ) as response:
                assert await next_user_ids(response.aiter_lines(), 2) == ids[1:]


async def test_event_source_with_an_invalid_position_is_rejected(database_url: str) -> None:
    async with (
        serving_process(None, ROSTER_DATABASE_URL=database_url) as (_, url),
        http_client(url) as http,
    ):
        for headers in (EVENT_SOURCE | {"last-event-id": "nonsense"}, EVENT_SOURCE):
            rejected = await http.get("/graphql", params={"query": EMPTY_CURSOR}, headers=headers)
            [data] = [line for line in rejected.text.splitlines() if line.startswith("data: {")]
            [error] = json.loads(data.removeprefix("data: "))["errors"]
            assert error["extensions"] == {"code": "INVALID_CURSOR"}
        assert error["message"] == (
            "An empty cursor is not a position in the feed. Omit `after` to begin now."
        )


CURSOR_LIST = "{ userEvents(first: 1) { nodes { cursor } } }"


async def reconnecting(
    urls: list[str], after: str, last: asyncio.Future[int], seed: int
) -> list[int]:
    """Follows the feed up to its last id, with random reconnects to random servers."""
    rng = random.Random(seed)  # noqa: S311
    ids: list[int] = []
    while not (last.done() and ids and ids[-1] >= last.result()):
        remaining = rng.randint(1, 6)
        try:
            async with socket(rng.choice(urls)) as live:
                await subscribe(live, after=after)
                while remaining and not (last.done() and ids and ids[-1] >= last.result()):
                    async with asyncio.timeout(2):  # perhaps there is nothing more to come
                        after = (await event(live))["cursor"]
                    ids.append(id_at(after))
                    remaining -= 1
        except TimeoutError:
            continue
    return ids


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_followers_on_three_servers_receive_each_committed_event_once(
    database_url: str,
) -> None:
    """Compares the committed events with those that each follower received.

    Each follower reconnects about fifty times, as in an hour of bad connections.
    """
    settings = {"ROSTER_DATABASE_URL": database_url}
    async with (
        serving_process(None, **settings) as (_, one),
        serving_process(None, **settings) as (_, two),
        serving_process(None, **settings) as (_, three),
        opened(database_url, pool_size=10) as database,
    ):
        urls = [one, two, three]
        last = asyncio.get_running_loop().create_future()
        await create(one, "first")
        first = await cursor_at(database, 1)
        followers = [
            asyncio.create_task(reconnecting(urls, first, last, seed)) for seed in range(6)
        ]

        async def write(lane: int) -> None:
            rng = random.Random(lane)  # noqa: S311
            for n in range(12):
                if n % 3 == 0:
                    await create(rng.choice(urls), f"api{lane}x{n}")
                    continue
                held = Writer(database, f"held{lane}x{n}")
                await held.begin(rng.randint(1, 3))
                await create(rng.choice(urls), f"meanwhile{lane}x{n}")
                await held.end(commit=rng.random() < 0.7)

        await asyncio.gather(*(write(lane) for lane in range(8)))
        await create(one, "last")
        expected = await committed_ids(database)
        last.set_result(expected[-1])
        assert len(expected) > 150
        for follower in followers:
            assert await follower == expected[1:]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_no_event_is_lost_if_the_database_repeatedly_cuts_connections(
    database_url: str,
) -> None:
    """Neither for clients that stay connected nor for clients that reconnect."""
    settings = {"ROSTER_DATABASE_URL": database_url}
    async with (
        serving_process(None, **settings) as (_, one),
        serving_process(None, **settings) as (_, two),
        AsyncExitStack() as stack,
    ):
        await create(one, "first")
        await create(one, "second")
        sockets = [await stack.enter_async_context(socket(url)) for url in (one, one, two, two)]
        for n, live in enumerate(sockets):  # from two positions, on each server
            await subscribe(live, after=await cursor_at(database_url, 1 + n % 2))
        last = asyncio.get_running_loop().create_future()
        first = await cursor_at(database_url, 1)
        followers = [
            asyncio.create_task(reconnecting([one, two], first, last, seed)) for seed in range(3)
        ]
        writers = [asyncio.create_task(try_to_write([one, two][n % 2], n)) for n in range(4)]
        async with opened(database_url) as database:
            await cut_again_and_again(database, asyncio.gather(*writers))
            while not await created(one, "last"):
                pass
            expected = await committed_ids(database)
        assert len(expected) > 20
        last.set_result(expected[-1])
        for n, live in enumerate(sockets):
            assert await heard_until(live, expected[-1]) == expected[1 + n % 2 :]
        for follower in followers:
            assert await follower == expected[1:]


async def try_to_write(url: str, lane: int) -> None:
    """Creates users. Requests may fail: the committed events count."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for n in range(15):
            name = f"user{lane}x{n}"
            values = {"username": name, "email": f"{name}@example.com"}
            body = {"query": CREATE, "variables": {"input": values}}
            await http.post("/graphql", json=body)


async def heard_until(live: ClientConnection, last: int) -> list[int]:
    ids = [id_at((await event(live))["cursor"])]
    while ids[-1] < last:
        ids.append(id_at((await event(live))["cursor"]))
    return ids


async def cut_again_and_again(database: Database, writing: asyncio.Future[Any]) -> None:
    """Cuts all connections after every few writes, until the writes end."""
    before = 0
    while not writing.done():
        seen = len(await committed_ids(database))
        if seen >= before + 5:
            await cut(database)
            before = seen
    await writing
    await cut(database)


async def cut(database: Database) -> None:
    """Terminates all other connections to a database."""
    async with database.engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


async def created(url: str, name: str) -> bool:
    """Tries to create a user; returns whether this or an earlier try succeeded."""
    values = {"username": name, "email": f"{name}@example.com"}
    async with http_client(url) as http:
        body = {"query": CREATE, "variables": {"input": values}}
        answer = (await http.post("/graphql", json=body)).json()
    return bool(answer.get("data") and answer["data"]["createUser"])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_followers_receive_the_events_of_two_processes_on_sqlite(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url}
    async with (
        serving_process(None, **settings) as (_, one),
        serving_process(None, **settings) as (_, two),
        opened(database_url) as database,
    ):
        last = asyncio.get_running_loop().create_future()
        await create(one, "first")
        first = await cursor_at(database, 1)
        followers = [
            asyncio.create_task(reconnecting([one, two], first, last, seed)) for seed in range(4)
        ]

        async def write(lane: int) -> None:
            for n in range(15):
                await create([one, two][(lane + n) % 2], f"user{lane}x{n}")

        await asyncio.gather(*(write(lane) for lane in range(6)))
        await create(one, "last")
        expected = await committed_ids(database)
        last.set_result(expected[-1])
        assert expected == list(range(1, 93))
        for follower in followers:
            assert await follower == expected[1:]


async def test_stopping_server_tells_subscribers_to_reconnect(database_url: str) -> None:
    settings = {"ROSTER_DATABASE_URL": database_url, "ROSTER_SHUTDOWN_TIMEOUT": "600"}
    async with serving_process(None, **settings) as (process, url):
        await create(url, "ada")
        first = await cursor_at(database_url, 1)
        async with socket(url) as live, stream(url, after=first) as lines:
            await subscribe(live, after=first)
            await create(url, "bob")
            assert (await event(live))["cursor"] == await cursor_at(database_url, 2)
            assert await anext(lines) == "event: next"
            process.send_signal(signal.SIGTERM)
            assert (await closed(live))[0] == 1012
            rest = [line async for line in lines]
            assert rest[1:] == ["retry: 1000"]  # and no `complete`: it continues elsewhere
        async with asyncio.timeout(60):
            assert await process.wait() in {0, -signal.SIGTERM}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_slow_subscriber_is_closed_and_resumes_without_a_gap(database_url: str) -> None:
    settings = {
        "ROSTER_DATABASE_URL": database_url,
        "ROSTER_SEND_TIMEOUT": "0.2",
        "ROSTER_MAX_CONNECTIONS_PER_CALLER": "1",
    }
    changes = " ".join(f"c{n}: changes {{ field before after redacted }}" for n in range(14))
    long = FEED.replace("cursor", f"cursor {changes}")
    async with serving_process(None, **settings) as (process, url):
        for batch in range(4):
            await ask(url, BULK, input={"operations": [creation(batch, n) for n in range(500)]})
        small = socket_module.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        small.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 65536)
        async with connect(
            address(url),
            sock=small,
            subprotocols=[PROTOCOL],  # type: ignore[list-item]
            max_queue=1,
            ping_interval=None,  # it would not read the answer either
        ) as slow:
            await send_message(slow, {"type": "connection_init"})
            assert await receive_message(slow) == {"type": "connection_ack"}
            await subscribe(slow, query=long, after=await cursor_at(database_url, 1))
            while await is_connection_limit_reached(url):  # while the slow connection is counted
                pass
            assert resident(process.pid) < 300 * 2**20
            code, reason, messages = await until_closed(slow)
        assert (code, reason) == (1013, "Too slow: come back with your last cursor")
        events = [json.loads(message)["payload"]["data"]["userEvents"] for message in messages]
        ids = [id_at(one["cursor"]) for one in events]
        assert 0 < len(ids) < 2000
        async with socket(url) as live:
            await subscribe(live, after=await cursor_at(database_url, ids[-1]))
            while ids[-1] < 2000:
                ids.append(id_at((await event(live))["cursor"]))
        assert ids == list(range(2, 2001))


def creation(batch: int, n: int) -> dict[str, Any]:
    name = f"user{batch}x{n}"
    return {"create": {"username": name, "email": f"{name}@example.com", "displayName": "x" * 200}}


async def is_connection_limit_reached(url: str) -> bool:
    async with connect(address(url), subprotocols=[PROTOCOL]) as another:  # type: ignore[list-item]
        await send_message(another, {"type": "connection_init"})
        await send_message(another, {"type": "nonsense"})
        return await closed(another) == (1013, "Too many sockets are open")
