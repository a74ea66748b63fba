"""A TCP proxy in front of PostgreSQL that can go silent, like a network that drops packets."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, make_url

from tests.support.process import free_port

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Forwards connections to a server.

    While it is silent it accepts connections and data, forwards nothing and closes nothing.
    `silence` loses the data and all connections: they stay silent after `restore`, as behind a
    router that has forgotten them. `pause` keeps the data, and `restore` delivers it.
    """

    def __init__(self, target: URL) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lost = asyncio.Event()  # of the current connections
        self.port = free_port()
        self.accepted = 0

    @property
    def is_carrying(self) -> bool:
        """Whether a connection is open."""
        return bool(self._tasks)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        self._lost.set()

    def pause(self) -> None:
        self._flowing.clear()

    def restore(self) -> None:
        self._lost = asyncio.Event()
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._run(self._carry((reader, writer), self._lost))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, near: _Ends, lost: asyncio.Event) -> None:
        self._writers.add(near[1])
        await self._flowing.wait()
        if lost.is_set():
            await self._swallow(near[0])
        try:
            far = await self._connect()
        except OSError:
            near[1].transport.abort()
            return
        self._writers.add(far[1])
        self._run(self._pump(near[0], far[1], lost))
        self._run(self._pump(far[0], near[1], lost))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                if lost.is_set():
                    await self._swallow(source)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        if lost.is_set():
            await self._swallow(source)
        sink.close()

    async def _swallow(self, source: asyncio.StreamReader) -> None:
        """Discards data until the proxy is stopped, and ignores the end of the connection."""
        while await source.read(65_536):
            pass
        await asyncio.Event().wait()

    async def _connect(self) -> _Ends:
        host, port = self._target.host or str(self._target.query["host"]), self._target.port or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


@asynccontextmanager
async def proxied(database_url: str, *, started: bool = True) -> AsyncIterator[tuple[Proxy, str]]:
    """Start a proxy to a database's server; yields it and the URL that leads through it."""
    url = make_url(database_url)
    proxy = Proxy(url)
    if started:
        await proxy.start()
    query = {key: value for key, value in url.query.items() if key != "host"}
    near = url.set(host="127.0.0.1", port=proxy.port, query=query)
    try:
        yield proxy, near.render_as_string(hide_password=False)
    finally:
        await proxy.stop()
