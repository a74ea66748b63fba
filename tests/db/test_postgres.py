"""Connections to PostgreSQL: their settings, and hosts that do not respond."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, event, make_url, text

from db import connector, migrations
from db.connector import Connector
from db.errors import is_unreachable
from db.timing import Timing
from tests.conftest import opened, select_one, temporary_role
from tests.support.proxy import proxied

on_postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SHOWN = ("TimeZone", "jit", "application_name", "idle_in_transaction_session_timeout")


@asynccontextmanager
async def serving(accept: Accept) -> AsyncIterator[int]:
    """Serves `accept` on loopback instead of PostgreSQL; yields the port."""
    served: list[asyncio.Task[None]] = []

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await accept(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(
        lambda *ends: served.append(asyncio.create_task(close(*ends))), "127.0.0.1"
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*served)


@on_postgres
async def test_pooled_and_separate_connections_have_the_same_settings(database_url: str) -> None:
    async with opened(database_url, idle_transaction_timeout=7) as database:
        connecting = database._connect  # noqa: SLF001 - makes the connections outside the pool
        async with database.engine.connect() as connection:
            pooled = [
                (await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in SHOWN
            ]
        separate = await connecting()
        found = [await separate.fetchval(f"SHOW {name}") for name in SHOWN]
        await separate.close()
    assert pooled == found == ["UTC", "off", "roster", "7s"]


async def test_startup_parameters_are_those_that_pgbouncer_accepts() -> None:
    """By default PgBouncer rejects all other parameters."""
    startup_message: list[str] = []

    async def accept(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        [length] = struct.unpack("!i", await reader.readexactly(4))
        startup_message.extend((await reader.readexactly(length - 4))[4:].decode().split("\0"))

    async with serving(accept) as port:
        url = f"postgresql://u@127.0.0.1:{port}/d?ssl=disable"
        async with opened(url) as database:
            with pytest.raises(Exception, match="closed") as caught:
                await select_one(database)
            assert is_unreachable(caught.value)
    parameters = set(startup_message[::2]) - {""}
    assert parameters == {"user", "database", "client_encoding", "application_name"}


@on_postgres
async def test_connection_sockets_enable_keepalive_and_user_timeout(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[socket.socket] = []
    keep_alive = connector.keep_alive

    def record(connected: Any) -> None:
        keep_alive(connected)
        found.append(connected)

    monkeypatch.setattr(connector, "keep_alive", record)
    async with proxied(database_url) as (_, near), opened(near) as database:
        await select_one(database)
        await database.notify()
        assert len(found) == 2  # one of the pool, and the separate one
        for connected in found:
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for name, value in (("TCP_KEEPINTVL", 2), ("TCP_USER_TIMEOUT", 5_000)):
                if option := getattr(socket, name, None):
                    assert connected.getsockopt(socket.IPPROTO_TCP, option) == value


@on_postgres
async def test_unix_socket_connects_without_tcp_options(database_url: str) -> None:
    async with opened(database_url) as database:
        assert make_url(database_url).query["host"]
        await database.ping()


class Silence:
    """Accepts connections and sends nothing."""

    def __init__(self) -> None:
        self.accepted = 0

    async def __call__(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await reader.read()


@on_postgres
async def test_silent_host_is_skipped_in_favour_of_the_next(database_url: str) -> None:
    timing = Timing(connect=0.5, skip_silent_host=3600.0)
    silence = Silence()
    async with serving(silence) as port, proxied(database_url) as (proxy, near):
        url = make_url(near)
        hosts = [f"127.0.0.1:{one}" for one in (port, proxy.port)]
        both = url.set(host=None, port=None, query={"host": hosts}).render_as_string()
        async with opened(both, timing=timing) as database:
            await select_one(database)
            await database.notify()
    assert silence.accepted == 1  # the silent host is tried last for a while


@on_postgres
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("read-write", [(0, "read-write")]),
        ("standby", [(0, "standby"), (1, "standby")]),
        ("prefer-standby", [(0, "standby"), (1, "standby"), (0, "any")]),
    ],
)
async def test_hosts_are_tried_in_order_with_target_session_attrs(
    database_url: str,
    wanted: str,
    expected: list[tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[tuple[int, str]] = []
    connect = asyncpg.connect

    async def record(*arguments: Any, **options: Any) -> Any:
        tried.append((ports.index(options["port"]), options["target_session_attrs"]))
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", record)
    async with proxied(database_url) as (one, near), proxied(database_url) as (other, _):
        ports = [one.port, other.port]
        options = {"host": ["127.0.0.1"] * 2, "port": ports, "target_session_attrs": wanted}
        url = make_url(near)
        connecting = Connector().connect(user=url.username, database=url.database, **options)
        if wanted == "standby":
            with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
                await connecting
        else:
            await (await connecting).close()
    assert tried == expected


@pytest.mark.parametrize(
    ("skipped_seconds", "attempts", "accepted"),
    [(3600.0, 20, 1), (0.0, 2, 2)],
    ids=["while it is skipped", "afterwards"],
)
async def test_silent_host_is_not_tried_again_while_it_is_skipped(
    skipped_seconds: float, attempts: int, accepted: int
) -> None:
    silence = Silence()
    async with serving(silence) as port:
        timing = Timing(connect=0.2, skip_silent_host=skipped_seconds)
        connector = Connector(timing=timing)
        options = {"host": "127.0.0.1", "port": port, "user": "u", "database": "d", "ssl": False}
        for _ in range(attempts):
            with pytest.raises(TimeoutError):
                await connector.connect(**options)
    assert silence.accepted == accepted


@pytest.fixture
def reader() -> Iterator[str]:
    with temporary_role("IN ROLE pg_read_all_data") as name:
        yield name


@on_postgres
async def test_migration_disables_the_idle_transaction_timeout(empty_url: str) -> None:
    shown: list[str] = []

    @event.listens_for(Engine, "after_cursor_execute")
    def record(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("CREATE TABLE users") or "CREATE TABLE users" in statement:
            cursor = connection.connection.cursor()
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            shown.append(cursor.fetchone()[0])
            cursor.close()

    try:
        async with opened(empty_url) as database:
            await migrations.upgrade(database)
            async with database.engine.connect() as connection:
                after = await connection.execute(text("SHOW idle_in_transaction_session_timeout"))
                assert after.scalar_one() == "30s"
    finally:
        event.remove(Engine, "after_cursor_execute", record)
    assert shown == ["0"]
