"""An HTTP client that costs little: POST on one connection, for tests that send many requests."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit


class PlainClient:
    """Sends one request after another. A client for each sender, and for each server."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(
        self, path: str, body: object, headers: Mapping[str, str]
    ) -> tuple[Mapping[str, str], Any]:
        """Return the headers, with names in lower case, and the JSON of the response."""
        content = json.dumps(body).encode()
        given = {
            "host": f"{self._host}:{self._port}",
            "content-type": "application/json",
            "content-length": str(len(content)),
            **headers,
        }
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        _, *found = (await self._reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        received = {
            name.lower(): text.strip() for name, _, text in (line.partition(":") for line in found)
        }
        length = int(received["content-length"])
        return received, json.loads(await self._reader.readexactly(length))
