"""A real Redis (Debian: redis-server) in a folder of its own, on a Unix socket."""

import asyncio
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotConnected

from tests.support.background import begin, end


@dataclass
class RedisServer:
    """`client` is an administrator's connection."""

    folder: Path
    client: Redis
    process: Process | None = None

    @property
    def socket(self) -> str:
        return f"{self.folder}/redis.sock"

    @property
    def url(self) -> str:
        return f"redis+unix://{self.socket}"

    async def start(self, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("This test needs redis-server (Debian: apt-get install redis-server).")
        base = ("--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", str(self.folder))
        self.process = await begin(self.folder / "log", program, *base, *options)
        async with asyncio.timeout(60):
            while not await self._answers():
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            return bool(await self.client.echo("ready"))
        except NotConnected:
            return False

    async def stop(self) -> None:
        if self.process:
            self.resume()
            await end(self.process)
            self.process = None

    def freeze(self) -> None:
        """Stop the process: connections stay open, and get no answers."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self.process and self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGCONT)

    async def command(self, *words: str) -> Any:
        return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def keys(self) -> list[str]:
        return sorted(key.decode() for key in await self.client.keys("*"))


@asynccontextmanager
async def redis_server(*options: str) -> AsyncIterator[RedisServer]:
    # Not in a folder of pytest's, whose path can be too long for a socket.
    with tempfile.TemporaryDirectory() as folder:
        client = Redis(unix_socket_path=f"{folder}/redis.sock")
        server = RedisServer(Path(folder), client)
        try:
            await server.start(*options)
            yield server
        finally:
            await client.aclose()
            await server.stop()
