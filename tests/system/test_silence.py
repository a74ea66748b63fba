"""A server whose network to the database drops packets: its errors, and its shutdown.

The timeouts of operations and of the shutdown are ten minutes here: only the limits for a silent
network end a request.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.process import http_client, serving_process
from tests.support.proxy import proxied
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


@kinds
async def test_clients_get_errors_during_silence_and_streams_resume_afterwards(
    database_url: str, kind: str
) -> None:
    async with (
        proxied(database_url) as (proxy, near),
        serving_process(None, ROSTER_DATABASE_URL=near, **LONG) as (process, url),
        serving_process(ROSTER_DATABASE_URL=database_url) as (_, other),
        http_client() as http,
    ):

        async def ask(body: dict[str, Any], server: str = url) -> Any:
            answer = (await http.post(f"{server}/graphql", json=body)).json()
            return [e["extensions"]["code"] for e in answer.get("errors", ())] or answer["data"]

        async def readiness() -> int:
            return (await http.get(f"{url}/health/ready")).status_code

        async def create_user(name: str, server: str = other) -> None:
            user = {"user": {"username": name}, "errors": []}
            assert await ask(add(name), server) == {"createUser": user}

        await create_user("ada")
        after = (await ask(LAST))["userEvents"]["pageInfo"]["endCursor"]
        assert await asyncio.gather(*(ask(COUNT) for _ in range(20)))
        async with stream(url, after=after) as lines, socket(url) as live:
            await subscribe(live, after=after)
            await create_user("bob")
            first, second = await next_created_line(lines), await event(live)
            assert second["cursor"] in first
            getattr(proxy, kind)()
            async with asyncio.timeout(60):
                requests = [*(ask(COUNT) for _ in range(40)), ask(add("eve"))]
                assert await asyncio.gather(*requests) == [["DATABASE_UNAVAILABLE"]] * 41
                assert await readiness() == 503
            assert (await http.get(f"{url}/health/live")).status_code == 200
            await create_user("cleo")
            proxy.restore()
            await until(readiness, 200)
            first, second = await next_created_line(lines), await event(live)
            assert second["cursor"] in first
            await create_user("dora", url)
            first, second = await next_created_line(lines), await event(live)
            assert second["cursor"] in first
            assert await ask(COUNT) == {"users": {"totalCount": 4}}
        getattr(proxy, kind)()
        in_flight = asyncio.create_task(ask(COUNT))
        async with asyncio.timeout(60):
            process.send_signal(signal.SIGTERM)
            log, _ = await process.communicate()
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
