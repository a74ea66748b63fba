"""Clients of several servers during a fault: writers with idempotency keys, and followers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx

from tests.support.cursors import id_at
from tests.support.process import http_client
from tests.support.sockets import socket, stream, subscribe

_CREATE: Final = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { username } replayed errors { code } } }"""
_PAUSE: Final = 0.02


class Refusal(NamedTuple):
    """How a write was refused."""

    status: int
    code: str
    outcome: str
    retry_after: str

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.outcome}"


class Writers:
    """Each writer creates users one after another, and repeats each write until it is done."""

    def __init__(self, urls: Sequence[str], number: int = 4) -> None:
        self.acknowledged: set[str] = set()
        self.refusals: Counter[Refusal] = Counter()
        self.problems: list[str] = []
        self.replayed = 0
        self.slowest = 0.0  # seconds until a write was refused
        self._urls = urls
        self._stop = asyncio.Event()
        self._last = [0.0] * number  # when each writer's last write was acknowledged
        self._first_after: list[float] = []
        self._tasks = [asyncio.create_task(self._run(n)) for n in range(number)]

    async def until(self, count: int) -> None:
        """Wait until so many more writes were acknowledged."""
        wanted = len(self.acknowledged) + count
        await self._wait(lambda: len(self.acknowledged) >= wanted)

    async def resumed(self, since: float) -> tuple[float, float]:
        """Return the seconds from a time until a write, and until one of each writer, was done."""
        await self._wait(lambda: any(at > since for at in self._last))
        first = max(self._last) - since
        await self._wait(lambda: all(at > since for at in self._last))
        return first, time.monotonic() - since

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _wait(self, condition: Any) -> None:
        async with asyncio.timeout(120):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def _run(self, number: int) -> None:
        async with http_client(self._urls[number % len(self._urls)]) as http:
            while not self._stop.is_set():
                name = f"user-{uuid4().hex}"
                while not await self._write(http, name):  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(_PAUSE)
                self._last[number] = time.monotonic()
                await asyncio.sleep(_PAUSE)

    async def _write(self, http: httpx.AsyncClient, name: str) -> bool:
        user = {"username": name, "email": f"{name}@example.com", "idempotencyKey": name}
        begun = time.monotonic()
        answer = await http.post("/graphql", json={"query": _CREATE, "variables": {"input": user}})
        body = answer.json()
        if "errors" in body:
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.refusals[_refusal(answer, body)] += 1
            return False
        payload = body["data"]["createUser"]
        if payload["errors"] or payload["user"] != {"username": name}:
            self.problems.append(answer.text)
        self.replayed += payload["replayed"]
        self.acknowledged.add(name)
        return True


def _refusal(answer: httpx.Response, body: dict[str, Any]) -> Refusal:
    [error] = body["errors"]
    extensions = error["extensions"]
    return Refusal(
        answer.status_code,
        extensions["code"],
        extensions.get("outcome", ""),
        answer.headers.get("retry-after", ""),
    )


class Followers:
    """Followers of each server, over a WebSocket and over Server-Sent Events."""

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = {}
        self.ends: list[str] = []

    async def until(self, last: int) -> None:
        async with asyncio.timeout(60):
            while not all(last in ids for ids in self.ids.values()):
                assert self.ends == []
                await asyncio.sleep(0.01)

    async def read(self, name: str, results: AsyncIterator[dict[str, Any]]) -> None:
        ids = self.ids[name] = []
        async for result in results:
            if set(result) != {"data"}:
                break
            ids.append(id_at(result["data"]["userEvents"]["cursor"]))
        self.ends.append(f"{name}: {result}")


@asynccontextmanager
async def following(urls: Sequence[str], after: str) -> AsyncIterator[Followers]:
    followers = Followers()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        running = []
        for n, url in enumerate(urls, 1):
            for way in (_over_a_socket, _over_a_stream):
                results = await way(url, after, stack)
                reading = followers.read(f"{way.__name__.rpartition('_')[2]} {n}", results)
                running.append(tasks.create_task(reading))
        yield followers
        for task in running:
            task.cancel()


async def _over_a_socket(
    url: str, after: str, stack: AsyncExitStack
) -> AsyncIterator[dict[str, Any]]:
    live = await stack.enter_async_context(socket(url))
    await subscribe(live, after=after)

    async def results() -> AsyncIterator[dict[str, Any]]:
        while True:
            async with asyncio.timeout(None):
                message = json.loads(await live.recv())
            if message["type"] == "ping":
                continue
            payload = message["payload"]
            yield payload if message["type"] == "next" else {"errors": payload}

    return results()


async def _over_a_stream(
    url: str, after: str, stack: AsyncExitStack
) -> AsyncIterator[dict[str, Any]]:
    lines = await stack.enter_async_context(stream(url, after=after))

    async def results() -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    return results()
