"""Subscribers that cost little: a process of its own that counts messages and reads none.

They share the machine with the server that is measured; a WebSocket library that parses every
message would take more of it than the server does.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
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
    """Follow with so many sockets; give what tells how many messages have come to all."""
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
    readers = [await _subscribed(url, query) for _ in range(count)]
    await asyncio.sleep(1)  # until they follow
    ready.set()
    await asyncio.gather(*(_count(reader, arrived) for reader in readers))


async def _subscribed(url: str, query: str) -> asyncio.StreamReader:
    host = urlsplit(url).netloc
    address, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    writer.write(_UPGRADE.format(host=host).encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_frame({"type": "connection_init"}))
    writer.write(_frame({"type": "subscribe", "id": "1", "payload": {"query": query}}))
    await reader.readuntil(b"connection_ack")
    reader._writer = writer  # type: ignore[attr-defined]  # noqa: SLF001 - which else is closed
    return reader


async def _count(reader: asyncio.StreamReader, arrived: "Synchronized[int]") -> None:
    while chunk := await reader.read(65536):
        # One process counts, in one thread, so that nothing is lost without a lock.
        arrived.value += chunk.count(b'"next"')


def _frame(message: object) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)
