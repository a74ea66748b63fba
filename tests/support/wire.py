"""A connection to the server without a network: the test determines each read."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from graph.settings import Settings
from graph.uvicorn_adapter.http import HTTPProtocol
from graph.uvicorn_adapter.websocket import WebSocketProtocol
from tests.support.client import Client, serving


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Transport(asyncio.Transport):
    """Keeps written data, and closes like a socket: asynchronously and once."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)})
        self._protocol: Any = protocol
        self._closing = False
        self.written = b""

    def write(self, data: Any) -> None:
        assert not self._closing, "something is written to a closed connection"
        self.written += bytes(data)

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol


class Wire:
    """One connection."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        self.state = state
        self.protocol: Any = HTTPProtocol(config, state, {})
        self.transport = Transport(self.protocol)
        self.protocol.connection_made(self.transport)

    async def read(self, *parts: bytes) -> None:
        """Feeds these parts to the server one by one, until it closes."""
        for part in parts:
            if self.transport.is_closing():
                return
            self.transport.get_protocol().data_received(part)  # type: ignore[attr-defined]
            await asyncio.sleep(0)  # lets the request begin
            await asyncio.sleep(0)

    async def wait_for_answers(self) -> bytes:
        """Waits until all requests are answered; returns all written data."""
        async with asyncio.timeout(60):
            while self.state.tasks:
                await asyncio.wait(set(self.state.tasks))
        await asyncio.sleep(0)  # delivers `connection_lost`
        return self.transport.written

    async def wait_until_written(self, text: bytes) -> None:
        """Wait until the server has written this."""
        async with asyncio.timeout(60):
            while text not in self.transport.written:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)

    async def exchange(self, *parts: bytes, methods: Iterable[bytes] = ()) -> list[Response]:
        await self.read(*parts)
        return responses(await self.wait_for_answers(), methods)

    @property
    def is_closed(self) -> bool:
        return self.transport.is_closing()


def responses(written: bytes, methods: Iterable[bytes] = ()) -> list[Response]:
    """Splits written data into responses. All have lengths, but those to HEAD have no body."""
    found = []
    remaining_methods = iter(methods)
    while written:
        head, _, written = written.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        headers = tuple((name.lower(), value) for name, _, value in pairs)
        length = int(dict(headers).get("content-length", 0))
        if next(remaining_methods, b"GET") == b"HEAD":
            length = 0
        assert first.startswith("HTTP/1.1 "), first
        assert len(written) >= length
        found.append(Response(int(first.split(" ")[1]), headers, written[:length]))
        written = written[length:]
    return found


@dataclass(frozen=True)
class Wired:
    """A served application and connections to it."""

    client: Client
    config: uvicorn.Config
    state: ServerState

    def connect(self) -> Wire:
        return Wire(self.config, self.state)

    async def exchange(self, *parts: bytes, methods: Iterable[bytes] = ()) -> list[Response]:
        return await self.connect().exchange(*parts, methods=methods)


@asynccontextmanager
async def wired(settings: Settings) -> AsyncIterator[Wired]:
    async with serving(settings) as client:
        config = uvicorn.Config(
            client.app, http=HTTPProtocol, ws=WebSocketProtocol, lifespan="off", log_config=None
        )
        config.load()
        yield Wired(client, config, ServerState())
