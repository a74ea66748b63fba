"""A server whose network to the database drops packets: its errors, and its shutdown.

The timeouts of operations and of the shutdown are ten minutes here: only the limits for a silent
network end a request.
"""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.process import http_client, serving_process
from tests.support.proxy import Proxy, proxied
from tests.support.sockets import event, socket, stream, subscribe
from tests.system.test_production import bearer, production
from tests.system.test_serve import COUNT, add

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
kinds = pytest.mark.parametrize("kind", ["silence", "pause"])
LONG = {
    f"ROSTER_{name}_TIMEOUT": "600"
    for name in ("QUERY", "MUTATION", "STATEMENT", "POOL", "SHUTDOWN")
}
LAST = {"query": "{ userEvents(last: 1) { pageInfo { endCursor } } }"}


async def until(answers: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Repeats a request until its answer is the wanted one."""
    async with asyncio.timeout(60):
        while await answers() != wanted:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)


async def next_created_line(lines: AsyncIterator[str]) -> str:
    async with asyncio.timeout(60):
        while "CREATED" not in (line := await anext(lines)):
            pass
    return line


async def assert_same_event(lines: AsyncIterator[str], live: ClientConnection) -> None:
    """The next event of a stream and of a socket is the same."""
    streamed, received = await next_created_line(lines), await event(live)
    assert received["cursor"] in streamed


@dataclass
class Server:
    """A server behind the proxy, and clients of it and of another one that is not behind it."""

    proxy: Proxy
    process: Process
    url: str
    other: str
    http: httpx.AsyncClient

    async def ask(self, body: dict[str, Any], server: str | None = None) -> Any:
        """Returns the data, or the codes of the errors."""
        answer = (await self.http.post(f"{server or self.url}/graphql", json=body)).json()
        return [e["extensions"]["code"] for e in answer.get("errors", ())] or answer["data"]

    async def create_user(self, name: str, server: str) -> None:
        user = {"user": {"username": name}, "errors": []}
        assert await self.ask(add(name), server) == {"createUser": user}

    async def health(self, name: str) -> int:
        return (await self.http.get(f"{self.url}/health/{name}")).status_code

    async def readiness(self) -> int:
        return await self.health("ready")

    async def fill_pool(self) -> None:
        assert await asyncio.gather(*(self.ask(COUNT) for _ in range(20)))

    async def assert_requests_fail(self) -> None:
        async with asyncio.timeout(60):
            requests = [*(self.ask(COUNT) for _ in range(40)), self.ask(add("eve"))]
            assert await asyncio.gather(*requests) == [["DATABASE_UNAVAILABLE"]] * 41
            assert await self.readiness() == 503
        assert await self.health("live") == 200


@asynccontextmanager
async def behind_proxy(database_url: str) -> AsyncIterator[Server]:
    async with (
        proxied(database_url) as (proxy, near),
        serving_process(None, ROSTER_DATABASE_URL=near, **LONG) as (process, url),
        serving_process(ROSTER_DATABASE_URL=database_url) as (_, other),
        http_client() as http,
    ):
        yield Server(proxy, process, url, other, http)


@kinds
async def test_clients_get_errors_during_silence_and_streams_resume_afterwards(
    database_url: str, kind: str
) -> None:
    async with behind_proxy(database_url) as server:
        await server.create_user("ada", server.other)
        after = (await server.ask(LAST))["userEvents"]["pageInfo"]["endCursor"]
        await server.fill_pool()
        async with stream(server.url, after=after) as lines, socket(server.url) as live:
            await subscribe(live, after=after)
            await server.create_user("bob", server.other)
            await assert_same_event(lines, live)
            getattr(server.proxy, kind)()
            await server.assert_requests_fail()
            await server.create_user("cleo", server.other)
            server.proxy.restore()
            await until(server.readiness, 200)
            await assert_same_event(lines, live)
            await server.create_user("dora", server.url)
            await assert_same_event(lines, live)
            assert await server.ask(COUNT) == {"users": {"totalCount": 4}}


@kinds
async def test_server_stops_during_silence_with_a_request_in_flight(
    database_url: str, kind: str
) -> None:
    async with behind_proxy(database_url) as server:
        await server.fill_pool()
        getattr(server.proxy, kind)()
        in_flight = asyncio.create_task(server.ask(COUNT))
        assert await server.health("live") == 200  # by then the server has read the other request
        async with asyncio.timeout(60):
            server.process.send_signal(signal.SIGTERM)
            log, _ = await server.process.communicate()
        await asyncio.gather(in_flight, return_exceptions=True)
    assert b"Traceback" not in log


@kinds
async def test_authentication_gets_errors_during_silence_and_recovers(
    database_url: str, kind: str
) -> None:
    async with proxied(database_url) as (proxy, near), production(near, **LONG) as server:
        key = await server.key()
        for authorization in (bearer(), key):
            assert await server.ask(authorization, COUNT["query"]) == {"users": {"totalCount": 0}}
        getattr(proxy, kind)()
        for authorization in (bearer(jti="another"), f"{key}", bearer(jti="a third")):
            async with asyncio.timeout(60):
                answer = await server.send(authorization, COUNT["query"])
            codes = [e["extensions"]["code"] for e in answer.json()["errors"]]
            assert codes == ["DATABASE_UNAVAILABLE"]
        proxy.restore()

        async def ask() -> int:
            return (await server.send(bearer(jti="a fourth"), COUNT["query"])).status_code

        await until(ask, 200)
