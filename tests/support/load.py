"""Clients that write and read through several servers, and know what they were promised."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from sqlalchemy import text

from db.engine import Database
from tests.support.client import CREATE
from tests.support.process import http_client

READ = "query ($id: ID!) { user(id: $id) { username version displayName } }"
LIST = "{ users(first: 20) { nodes { username } } }"
UPDATE = """mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) { changed errors { code } } }"""


async def _condition(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the counts change with every request
        await asyncio.sleep(0.02)


class Load:
    """Each client creates a user, reads it, changes it and lists users, again and again.

    No request is repeated, so a failed one is counted. `urls` may change while clients run.
    """

    def __init__(self, *urls: str) -> None:
        self.urls = list(urls)
        self.failures: Counter[str] = Counter()
        self.written: dict[str, str] = {}  # username: the last name that was acknowledged
        self.requests = 0
        self.longest = 0.0
        self._busy: Counter[str] = Counter()
        self._ending = asyncio.Event()
        self._http = http_client()

    @asynccontextmanager
    async def running(self, clients: int = 6) -> AsyncIterator[None]:
        async with self._http, asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._write(f"client{number}"))
            try:
                yield
            finally:
                self._ending.set()

    async def more(self, requests: int) -> None:
        """Wait until this many further requests were answered."""
        until = self.requests + requests
        await _condition(lambda: self.requests >= until)

    async def leave(self, url: str) -> None:
        """Send no further requests to a server, and wait for those it has."""
        self.urls.remove(url)
        await _condition(lambda: not self._busy[url])

    async def _write(self, name: str) -> None:
        number = 0
        while not self._ending.is_set():
            number += 1
            username = f"{name}-{number}"
            values = {"username": username, "email": f"{username}@example.com"}
            created = await self._send(CREATE, input=values)
            if created is None:
                continue
            self.written[username] = ""
            user = created["createUser"]["user"]["id"]
            if await self._send(UPDATE, input={"id": user, "displayName": username}):
                self.written[username] = username
            read = await self._send(READ, id=user)
            expected = {"username": username, "version": 2, "displayName": username}
            if read is not None and read["user"] != expected:
                self.failures[f"read {read}"] += 1
            await self._send(LIST)

    async def _send(self, query: str, **variables: Any) -> Any:
        url = random.choice(self.urls)  # noqa: S311 - not a secret
        self._busy[url] += 1
        begun = time.monotonic()
        try:
            body = {"query": query, "variables": variables}
            answer = (await self._http.post(f"{url}/graphql", json=body)).json()
        except (httpx.HTTPError, ValueError) as error:
            self.failures[repr(error)] += 1
            return None
        finally:
            self.longest = max(self.longest, time.monotonic() - begun)
            self.requests += 1
            self._busy[url] -= 1
        payload = next(iter((answer.get("data") or {}).values()), None)
        if "errors" in answer or payload is None or payload.get("errors"):
            self.failures[str(answer)] += 1
            return None
        return answer["data"]

    async def lost(self, database: Database) -> list[str]:
        """Return the acknowledged writes that are missing, and the events that are too many."""
        async with database.engine.connect() as connection:
            users = await connection.execute(
                text("SELECT username, display_name FROM users WHERE username LIKE 'client%'")
            )
            stored = {row.username: row.display_name or "" for row in users}
            events = await connection.scalar(
                text(
                    "SELECT count(*) FROM user_events WHERE user_id IN "
                    "(SELECT id FROM users WHERE username LIKE 'client%')"
                )
            )
        wrong = [name for name, value in self.written.items() if stored.get(name) != value]
        acknowledged = len(self.written) + sum(map(bool, self.written.values()))
        return wrong if events == acknowledged else [*wrong, f"{events} events, {acknowledged}"]
