"""Two servers behind a proxy are restarted one after another while clients write."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import opened
from tests.support.client import CREATE, count
from tests.support.haproxy import haproxy
from tests.support.nginx import Nginx, nginx
from tests.support.process import free_port, http_client, serving_process
from tests.system.test_production import SETTINGS, bearer

REQUESTS, RESTARTS, CLIENTS = 2_000, 4, 8
# Longer than the proxies need to notice: HAProxy checks each second.
DRAIN: dict[str, Any] = {"ROSTER_DRAIN_PERIOD": "4", "ROSTER_RATE_LIMIT": "off"}


@asynccontextmanager
async def behind_nginx(folder: Path, *ports: int) -> AsyncIterator[Nginx]:
    second = "# server 10.0.0.8:8000 fail_timeout"
    changed = (
        f"{second}=>server 127.0.0.1:{ports[1]} fail_timeout",
        "rate=50r/s=>rate=5000r/s",
    )
    async with nginx(folder, ports[0], *changed) as proxy:
        yield proxy


class Restarted:
    """A server that is stopped and started again on the same port."""

    def __init__(self, stack: AsyncExitStack, port: int, settings: dict[str, Any]) -> None:
        self._stack = stack
        self._settings = settings | {"ROSTER_PORT": str(port)}

    async def start(self) -> None:
        self._process, url = await self._stack.enter_async_context(
            serving_process(**self._settings)
        )
        async with http_client(url) as http:
            assert (await http.get("/health/ready")).status_code == 200

    async def restart(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        await self._process.communicate()
        await self.start()


async def send_writes(proxy: Nginx, name: str, stop: asyncio.Event, outcomes: Counter[str]) -> None:
    number = 0
    async with httpx.AsyncClient(base_url=proxy.url, verify=proxy.trusting, timeout=60) as http:
        while not stop.is_set() or number * CLIENTS < REQUESTS:
            number += 1
            username = f"{name}-{number}"
            values = {"username": username, "email": f"{username}@example.com"}
            body = {"query": CREATE, "variables": {"input": values}}
            try:
                answer = await http.post(
                    "/graphql", json=body, headers={"authorization": bearer(sub="admin")}
                )
                [user] = [answer.json()["data"]["createUser"]["user"]]
                outcomes["created" if user["username"] == username else answer.text] += 1
            except (httpx.HTTPError, json.JSONDecodeError, KeyError, TypeError) as error:
                outcomes[repr(error)] += 1


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("proxied", [haproxy, behind_nginx])
async def test_no_request_is_lost_while_servers_restart_behind_a_proxy(
    database_url: str,
    tmp_path: Path,
    proxied: Callable[..., AbstractAsyncContextManager[Nginx]],
) -> None:
    settings = SETTINGS | DRAIN | {"ROSTER_DATABASE_URL": database_url}
    stop, outcomes = asyncio.Event(), Counter[str]()
    async with AsyncExitStack() as stack, asyncio.timeout(600):
        ports = [free_port(), free_port()]
        servers = [Restarted(stack, port, settings) for port in ports]
        for server in servers:
            await server.start()
        proxy = await stack.enter_async_context(proxied(tmp_path, *ports))
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(send_writes(proxy, f"client-{number}", stop, outcomes))
            for number in range(RESTARTS):
                await servers[number % 2].restart()
            stop.set()
    created = outcomes.pop("created")
    assert outcomes == {}
    assert created >= REQUESTS
    async with opened(database_url) as database:
        assert await count(database) == (created, created)
