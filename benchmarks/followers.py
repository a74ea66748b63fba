"""Cheap subscribers: a separate process that counts messages without parsing them.

They share the machine with the measured server. A WebSocket library that parses every message would
use more CPU time than the server does.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

_UPGRADE = """GET /graphql HTTP/1.1\r
Host: {host}\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Protocol: graphql-transport-ws\r
\r
"""


@contextmanager
def following(url: str, count: int, query: str) -> Iterator[Callable[[], int]]:
    """Open `count` subscriptions. Yields a function that returns the total number of messages."""
    spawn = multiprocessing.get_context("spawn")
    arrived, ready = spawn.Value("q", 0), spawn.Event()
    process = spawn.Process(target=_run, args=(url, count, query, arrived, ready), daemon=True)
    process.start()
    try:
        assert ready.wait(60)
        yield lambda: arrived.value
    finally:
        process.terminate()
        process.join()


def _run(url: str, count: int, query: str, arrived: "Synchronized[int]", ready: "Event") -> None:
    asyncio.run(_follow(url, count, query, arrived, ready))


async def _follow(
    url: str, count: int, query: str, arrived: "Synchronized[int]", ready: "Event"
) -> None:
    loop = asyncio.get_running_loop()
    host, _, port = urlsplit(url).netloc.partition(":")
    followers = []
    for _ in range(count):
        _, follower = await loop.create_connection(
            lambda: _Follower(host, query, arrived), host, int(port)
        )
        await follower.acknowledged.wait()
        followers.append(follower)
    await asyncio.sleep(1)  # until the subscriptions are active
    ready.set()
    await asyncio.gather(*(follower.lost.wait() for follower in followers))


class _Follower(asyncio.Protocol):
    def __init__(self, host: str, query: str, arrived: "Synchronized[int]") -> None:
        self.acknowledged = asyncio.Event()
        self.lost = asyncio.Event()
        self._host = host
        self._query = query
        self._arrived = arrived
        self._heard = b""  # received data, until connection_ack

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(_UPGRADE.format(host=self._host).encode())

    def _subscribe(self) -> None:
        self._transport.write(_frame({"type": "connection_init"}))
        payload = {"query": self._query}
        self._transport.write(_frame({"type": "subscribe", "id": "1", "payload": payload}))

    def data_received(self, data: bytes) -> None:
        if not self.acknowledged.is_set():
            was_open = b"\r\n\r\n" in self._heard
            self._heard += data
            if not was_open and b"\r\n\r\n" in self._heard:
                self._subscribe()  # RFC 6455 section 4.1: no frame before the handshake's response
            if b"connection_ack" in self._heard:
                self.acknowledged.set()
            return
        # Only one thread of one process writes the counter, so it needs no lock.
        self._arrived.value += data.count(b'"next"')

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()


def _frame(message: object) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)
