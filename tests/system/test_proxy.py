"""The nginx sample of docs/proxy in front of a server in production mode."""

import asyncio
import shlex
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.client import CREATE
from tests.support.nginx import OPERATIONS, Nginx, nginx
from tests.support.process import http_client
from tests.support.sockets import PROTOCOL, receive_message, send_message, subscribe
from tests.system.test_production import COUNT, bearer, production

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
# A configuration that forwards every upgrade: the server has to be safe on its own.
PASSES_ALL = "Upgrade $roster_upgrade;=>Upgrade $http_upgrade;"
CONNECTS = "map $roster_upgrade $roster_connection=>map $http_upgrade $roster_connection"
SMUGGLED = b"GET /graphql?query={users{totalCount}} HTTP/1.1\r\nx: "
# Empty lines before a request are skipped, so the boundaries of reads do not matter.
BODIES = [SMUGGLED, b"\r\n" * 300_000 + SMUGGLED]
UPGRADES = ["h2c", "websocket", "websocket, h2c", "h2c, websocket", "WebSocket", "TLS/1.0"]
ATTACKS = list(product(UPGRADES, ("POST", "GET"), BODIES))


def attack(upgrade: str, body: bytes, *, method: str = "POST") -> bytes:
    return (
        f"{method} /graphql HTTP/1.1\r\nhost: roster.example.com\r\n"
        f"content-type: application/json\r\nconnection: Upgrade\r\nupgrade: {upgrade}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def send(proxy: Nginx, text: bytes) -> tuple[StreamReader, StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=proxy.trusting)
    writer.write(text)
    return reader, writer


async def status(proxy: Nginx, text: bytes) -> int:
    reader, writer = await send(proxy, text)
    async with asyncio.timeout(60):
        line = await reader.readline()
    writer.transport.abort()
    return int(line.split(b" ")[1])


async def test_documented_certificate_and_request_reach_the_server(
    database_url: str, tmp_path: Path
) -> None:
    text = OPERATIONS.read_text().replace("\\\n", " ")
    [command] = [line for line in text.splitlines() if line.startswith("curl --cacert")]
    _, _, trusted, _, resolved, url, _, header, option, body = shlex.split(command)
    assert (trusted, option) == ("roster.crt", "--json")
    assert resolved == f"{httpx.URL(url).host}:443:127.0.0.1"
    name, _, value = header.replace("Bearer $TOKEN", bearer()).partition(": ")
    headers = {name: value, "content-type": "application/json", "host": httpx.URL(url).host}
    async with (
        production(database_url) as server,
        nginx(tmp_path, httpx.URL(server.url).port or 0) as proxy,
        httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=tmp_path / trusted), timeout=60
        ) as http,
    ):
        answer = await http.post(
            proxy.url + httpx.URL(url).path,
            content=body,
            headers=headers,
            extensions={"sni_hostname": httpx.URL(url).host},  # which the certificate must have
        )
    assert answer.json() == {"data": {"users": {"totalCount": 0}}}


@pytest.mark.parametrize("changed", [(), (PASSES_ALL, CONNECTS)], ids=["sample", "passes all"])
async def test_client_cannot_smuggle_a_request_before_that_of_another(
    database_url: str, tmp_path: Path, changed: tuple[str, ...]
) -> None:
    """The proxy shares few connections: bytes left of one request would begin the next."""
    async with (
        production(database_url) as server,
        nginx(tmp_path, httpx.URL(server.url).port or 0, *changed) as proxy,
        httpx.AsyncClient(base_url=proxy.url, verify=proxy.trusting, timeout=60) as victim,
    ):
        for number, (upgrade, method, body) in enumerate(ATTACKS):
            assert await status(proxy, attack(upgrade, body, method=method)) == 401
            name = f"victim{number}"
            values = {"username": name, "email": f"{name}@example.com"}
            answer = await victim.post(
                "/graphql",
                json={"query": CREATE, "variables": {"input": values}},
                headers={"authorization": bearer(sub="admin")},
            )
            assert answer.status_code == 200
            assert answer.json()["data"]["createUser"]["user"]["username"] == name
        count = {"users": {"totalCount": len(ATTACKS)}}
        assert await server.ask(bearer(), COUNT) == count


@sqlite
async def test_websockets_work_through_the_proxy(database_url: str, tmp_path: Path) -> None:
    async with (
        production(database_url) as server,
        nginx(tmp_path, httpx.URL(server.url).port or 0) as proxy,
        connect(
            f"wss://127.0.0.1:{proxy.port}/graphql",
            ssl=proxy.trusting,
            subprotocols=[PROTOCOL],  # type: ignore[list-item] # a NewType of str
        ) as live,
    ):
        await send_message(
            live, {"type": "connection_init", "payload": {"authorization": bearer()}}
        )
        assert await receive_message(live) == {"type": "connection_ack"}
        await subscribe(live, query=COUNT)
        payload = {"data": {"users": {"totalCount": 0}}}
        assert await receive_message(live) == {"id": "1", "type": "next", "payload": payload}


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[int, list[dict[str, str]]]]:
    """Records the headers of requests; answers each with 200 and an empty body."""
    recorded: list[dict[str, str]] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = [line.partition(": ") for line in head.decode().lower().split("\r\n")[1:]]
            recorded.append({name: value for name, _, value in lines})
            await reader.readexactly(int(recorded[-1].get("content-length", 0)))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def until_closed(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], recorded


async def test_only_websocket_handshakes_are_forwarded_as_upgrades(tmp_path: Path) -> None:
    async with recording() as (upstream, recorded), nginx(tmp_path, upstream) as proxy:
        for method, upgrade in product(("GET", "POST", "DELETE"), [*UPGRADES, "websocket/13", "x"]):
            assert await status(proxy, attack(upgrade, b"{}", method=method)) == 200
            headers = recorded.pop()
            passed = {name: headers.get(name) for name in ("upgrade", "connection")}
            if method == "GET" and upgrade.lower() == "websocket":
                assert passed == {"upgrade": "websocket", "connection": "upgrade"}
            else:
                assert passed == {"upgrade": None, "connection": None}


async def test_proxy_redirects_http_to_its_own_host_name(tmp_path: Path) -> None:
    async with recording() as (upstream, recorded), nginx(tmp_path, upstream) as proxy:
        async with http_client(f"http://127.0.0.1:{proxy.plain}") as http:
            answer = await http.get("/graphql?query=x", headers={"host": "evil.example"})
        assert answer.status_code == 301
        assert answer.headers["location"] == "https://roster.example.com/graphql?query=x"
        assert recorded == []


@sqlite
async def test_origin_of_the_proxy_is_accepted_and_others_are_rejected(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        production(database_url) as server,
        nginx(tmp_path, httpx.URL(server.url).port or 0) as proxy,
        httpx.AsyncClient(verify=proxy.trusting, timeout=60) as http,
    ):
        for origin, expected in ((proxy.url, 200), ("https://127.0.0.1:1", 403)):
            headers = {"authorization": bearer(), "origin": origin}
            answer = await http.post(
                f"{proxy.url}/graphql", json={"query": "{ __typename }"}, headers=headers
            )
            assert answer.status_code == expected
