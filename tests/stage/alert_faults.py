"""The fault that triggers each alert of docs/prometheus/alerts.yml."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx

from tests.support.background import children
from tests.support.metrics import scraped_until
from tests.support.open_transactions import left_open
from tests.support.postgres import Server
from tests.support.process import free_port, http_client
from tests.support.signing import ISS, RSA, jwk, key_server, token
from tests.support.sockets import stream

QUERY: Final = {"query": "query Users { users(first: 1) { nodes { id } } }"}
CREATE: Final = """mutation ($input: CreateUserInput!) {
  createUser(input: $input) { user { id } } }"""


@dataclass(frozen=True)
class Running:
    """A server of Roster, its process, its management port and its own PostgreSQL server."""

    url: str
    process: Process
    port: int
    postgres: Server

    @property
    def database(self) -> str:
        return self.postgres.url


Injected = Callable[[Running], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    inject: Injected
    settings: dict[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    """Other alerts that the fault may trigger."""
    is_lasting: bool = False
    """Whether it is there from the start, or does not end."""


@asynccontextmanager
async def load(
    url: str, number: int = 4, pause: float = 0.05, **headers: str
) -> AsyncIterator[None]:
    """Some clients send one query after another."""

    async def send() -> None:
        async with http_client(url) as http:
            while True:
                with suppress(httpx.HTTPError):
                    await http.post("/graphql", json=QUERY, headers=headers)
                await asyncio.sleep(pause)

    tasks = [asyncio.create_task(send()) for _ in range(number)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def create(url: str) -> None:
    username = f"user{uuid4().hex}"
    values = {"username": username, "email": f"{username}@example.com"}
    async with http_client(url) as http:
        await http.post("/graphql", json={"query": CREATE, "variables": {"input": values}})


@asynccontextmanager
async def locked(running: Running) -> AsyncIterator[None]:
    """Another program locks the table of users, again and again for two seconds."""

    async def lock() -> None:
        connection = await asyncpg.connect(running.database)
        try:
            while True:
                async with connection.transaction():
                    await connection.execute("LOCK users IN ACCESS EXCLUSIVE MODE")
                    await asyncio.sleep(2)
                await asyncio.sleep(0.05)
        finally:
            connection.terminate()

    task = asyncio.create_task(lock())
    try:
        async with load(running.url, 8):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def killed(running: Running) -> AsyncIterator[None]:
    running.process.kill()
    await running.process.wait()
    yield


@asynccontextmanager
async def nothing(_: Running) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def database_stopped(running: Running) -> AsyncIterator[None]:
    await asyncio.to_thread(running.postgres.stop, "immediate")
    try:
        async with load(running.url):
            yield
    finally:
        await asyncio.to_thread(running.postgres.start)


@asynccontextmanager
async def column_missing(running: Running) -> AsyncIterator[None]:
    connection = await asyncpg.connect(running.database)
    await connection.execute("ALTER TABLE users RENAME COLUMN created_at TO mislaid")
    try:
        async with load(running.url):
            yield
    finally:
        await connection.execute("ALTER TABLE users RENAME COLUMN mislaid TO created_at")
        await connection.close()


@asynccontextmanager
async def transaction_open(running: Running) -> AsyncIterator[None]:
    await create(running.url)
    async with stream(running.url), load(running.url):
        await scraped_until(running.port, lambda found: found.total("roster_feed_followers") == 1)
        async with left_open(running.database):
            await create(running.url)
            yield


@asynccontextmanager
async def flooded(running: Running) -> AsyncIterator[None]:
    async with load(running.url):
        yield


@asynccontextmanager
async def wrong_tokens(running: Running) -> AsyncIterator[None]:
    async with load(running.url, authorization="Bearer roster_wrong"):
        yield


@asynccontextmanager
async def keys_unreachable(running: Running) -> AsyncIterator[None]:
    async with load(running.url, authorization=f"Bearer {token()}"):
        yield


@asynccontextmanager
async def workers_killed(running: Running) -> AsyncIterator[None]:
    for number in (2, 4):
        for pid in workers(running.process.pid):
            os.kill(pid, signal.SIGKILL)
        await scraped_until(
            running.port,
            lambda found, number=number: found.total("roster_worker_restarts_total") >= number,  # type: ignore[misc]
        )
    yield


def workers(pid: int) -> list[int]:
    """Returns the worker processes; multiprocessing has another one, its resource tracker."""
    return [child for child in children(pid) if "spawn_main" in command(child)]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@asynccontextmanager
async def keys_withheld(running: Running) -> AsyncIterator[None]:
    """An issuer that has published its keys answers with an error. Some tokens name another key."""
    async with key_server(jwk(RSA, "key"), port=_KEYS_PORT) as keys:
        known = f"Bearer {token(headers={'kid': 'key'})}"
        async with load(running.url, 1, authorization=known):
            await scraped_until(running.port, lambda found: _KEYS_AGE in found.names)
            keys.answer = b"HTTP/1.1 500 Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            other = f"Bearer {token(headers={'kid': 'other'})}"
            async with load(running.url, 1, pause=2, authorization=other):
                yield


_KEYS_AGE: Final = "roster_issuer_keys_age_seconds"
_KEYS_PORT: Final = free_port(to_keep=True)
_UNREACHABLE: Final = f"127.0.0.1:{free_port()}"
_PRODUCTION: Final[dict[str, Any]] = {
    "ROSTER_MODE": "production",
    "ROSTER_AUTH_ISSUER": ISS,
    "ROSTER_AUTH_AUDIENCE": "roster",
    "ROSTER_AUTH_JWKS_URL": f"http://{_UNREACHABLE}/keys",
}
_ONE: Final = {"ROSTER_POOL_SIZE": "1", "ROSTER_POOL_TIMEOUT": "1"}
_OUTAGE: Final = frozenset({"RosterDatabaseUnavailable", "RosterErrors", "RosterFeedLags"})
_LOCKED: Final = frozenset(
    {
        *("RosterSlow", "RosterPoolExhausted", "RosterPoolTimeouts", "RosterOverloaded"),
        *("RosterErrors", "RosterDatabaseUnavailable"),
    }
)
_HELD_BACK: Final = frozenset({"RosterFeedHeldBack", "RosterFeedLags"})

FAULTS: Final = (
    Fault("RosterDown", killed, is_lasting=True),
    Fault("RosterWaitsForDatabase", nothing, is_lasting=True),
    Fault("RosterDatabaseUnavailable", database_stopped, also=_OUTAGE),
    Fault("RosterErrors", database_stopped, also=_OUTAGE),
    Fault("RosterInternalErrors", column_missing, also=frozenset({"RosterErrors"})),
    Fault("RosterSlow", locked, {"ROSTER_POOL_SIZE": "20"}, _LOCKED),
    Fault("RosterPoolExhausted", locked, _ONE | {"ROSTER_POOL_TIMEOUT": "20"}, _LOCKED),
    Fault("RosterPoolTimeouts", locked, _ONE, _LOCKED),
    Fault(
        "RosterNoReplica",
        nothing,
        {"ROSTER_READ_DATABASE_URL": f"postgresql://roster@{_UNREACHABLE}/roster"},
        is_lasting=True,
    ),
    Fault("RosterFeedHeldBack", transaction_open, also=_HELD_BACK),
    Fault("RosterFeedLags", transaction_open, also=_HELD_BACK),
    Fault("RosterThrottles", flooded, {"ROSTER_RATE_LIMIT": "10/hour"}, is_lasting=True),
    Fault("RosterOverloaded", locked, {"ROSTER_MAX_CONCURRENT_OPERATIONS": "2"}, _LOCKED),
    Fault("RosterRejectsTokens", wrong_tokens),
    Fault(
        "RosterCannotCheckTokens",
        keys_unreachable,
        _PRODUCTION,
        frozenset({"RosterErrors"}),
        is_lasting=True,
    ),
    Fault(
        "RosterKeysOutdated",
        keys_withheld,
        {
            "ROSTER_AUTH_ISSUER": ISS,
            "ROSTER_AUTH_AUDIENCE": "roster",
            "ROSTER_AUTH_JWKS_URL": f"http://127.0.0.1:{_KEYS_PORT}/keys",
        },
        frozenset({"RosterErrors"}),
    ),
    Fault("RosterWorkersEnd", workers_killed, {"ROSTER_WORKERS": "2"}),
    Fault(
        "RosterLimitsNotShared",
        nothing,
        {
            "ROSTER_RATE_LIMIT": "1000/minute",
            "ROSTER_RATE_LIMIT_STORAGE": f"redis://{_UNREACHABLE}/0",
        },
        is_lasting=True,
    ),
)
