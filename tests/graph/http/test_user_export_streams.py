"""The stream of an export: it ends with its client, and fails visibly in the middle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from graph.auth.authenticator import InvalidCredentials
from graph.exchange import exporting
from graph.protocol.errors import RequestError
from graph.settings import Settings
from tests.support.client import Client, serving
from tests.support.faults import Faults, in_reads

USERS = 6


class Exchange:
    """One request to the application, whose client accepts messages when the test says so."""

    def __init__(self, client: Client) -> None:
        self.messages: list[dict[str, Any]] = []
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._accepted = asyncio.Semaphore(0)
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/users.ndjson",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        self.served = asyncio.ensure_future(client.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._sent.put_nowait(message)
        await self._accepted.acquire()

    async def next(self) -> dict[str, Any]:
        """Return the next message, which is not yet accepted."""
        return await asyncio.wait_for(self._sent.get(), 60)

    def accept(self) -> None:
        self._accepted.release()

    def accept_all(self) -> None:
        for _ in range(100):
            self.accept()

    def leave(self) -> None:
        self._gone.set()

    @property
    def is_complete(self) -> bool:
        return any(
            message["type"] == "http.response.body" and not message["more_body"]
            for message in self._rest()
        )

    def _rest(self) -> list[dict[str, Any]]:
        return [self._sent.get_nowait() for _ in range(self._sent.qsize())]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    settings = Settings(
        database_url=database_url, max_connections_per_caller=1, auth_recheck_interval=0.01
    )
    async with serving(settings) as client:
        for number in range(USERS):
            await client.create(f"user{number}")
        yield client


async def begun(client: Client) -> Exchange:
    """Begin an export and wait until its first portion is sent."""
    exchange = Exchange(client)
    assert (await exchange.next())["status"] == 200
    exchange.accept()
    assert (await exchange.next())["body"].count(b"\n") == 2
    return exchange


def connections_in_use(client: Client) -> int:
    pool: Any = client.database.engine.sync_engine.pool
    return int(pool.checkedout())


async def test_slow_client_holds_no_database_connection_and_gets_each_user_once(
    client: Client,
) -> None:
    exchange = await begun(client)
    assert connections_in_use(client) == 0
    await client.create("late")  # SQLite has one writer: a read that is open does not block it
    exchange.accept_all()
    await asyncio.wait_for(exchange.served, 60)
    assert exchange.is_complete
    response = await client.http.get("/users.ndjson")
    assert response.text.count("\n") == USERS + 1


async def test_client_that_disconnects_ends_the_export_and_frees_its_slot(client: Client) -> None:
    exchange = await begun(client)
    refused = await client.http.get("/users.ndjson")
    assert (refused.status_code, refused.json()["errors"][0]["extensions"]) == (
        429,
        {"code": "TOO_MANY_CONNECTIONS"},
    )
    exchange.leave()
    await asyncio.wait_for(exchange.served, 60)
    assert not exchange.is_complete
    assert connections_in_use(client) == 0
    assert (await client.http.get("/users.ndjson")).status_code == 200


async def end_grace_period(client: Client) -> None:
    client.app.state.shutdown.interrupt()


async def reject_everybody(client: Client) -> None:
    checked = asyncio.Event()

    async def reject(_: object) -> None:
        checked.set()
        raise InvalidCredentials("revoked")

    client.app.state.authenticator.authenticate = reject
    await asyncio.wait_for(checked.wait(), 60)  # also while the stream waits for its client


@pytest.mark.parametrize(
    ("interrupt", "code"),
    [(end_grace_period, "SHUTTING_DOWN"), (reject_everybody, "UNAUTHENTICATED")],
)
async def test_export_that_is_interrupted_is_not_completed(
    client: Client, interrupt: Callable[[Client], Awaitable[None]], code: str
) -> None:
    exchange = await begun(client)
    await interrupt(client)
    exchange.accept_all()
    with pytest.raises(RequestError) as raised:
        await asyncio.wait_for(exchange.served, 60)
    assert raised.value.code == code
    assert not exchange.is_complete
    assert connections_in_use(client) == 0


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "code"), [("57P01", "DATABASE_UNAVAILABLE"), ("XX000", "INTERNAL_ERROR")]
)
async def test_failure_of_the_database_in_the_middle_is_not_a_complete_export(
    client: Client, database_url: str, fault: str, code: str
) -> None:
    faults = Faults(database_url)
    await faults.prepare(in_reads("users"))
    exchange = await begun(client)
    await faults.choose(fault)
    exchange.accept_all()
    with pytest.raises(RequestError) as raised:
        await asyncio.wait_for(exchange.served, 60)
    assert raised.value.code == code
    assert not exchange.is_complete
    first = await client.http.get("/users.ndjson")
    assert (first.status_code, first.json()["errors"][0]["extensions"]["code"]) == (
        raised.value.status,
        code,
    )
