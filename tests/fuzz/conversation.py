"""A WebSocket conversation that ends with a query that the server must answer."""

import asyncio
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.fuzz.answers import SECONDS, error_problems, read, result_problems
from tests.fuzz.cases import Conversation, Frame, Outcome
from tests.support.sockets import PROTOCOL, address, send_message

_PROBE = {"id": "probe", "type": "subscribe", "payload": {"query": "{ __typename }"}}
_SWALLOWED = 0.2  # seconds; raw bytes may begin a frame that never ends
_ALLOWED = {1000, 1002, 1003, 1007, 1009}


class _Talk:
    def __init__(self, connection: ClientConnection, talk: Conversation) -> None:
        self.connection = connection
        self.talk = talk
        self.raw = any(frame.raw for frame in talk.frames)
        self.waiting = {"probe"} | ({talk.awaited} if talk.awaited else set())
        self.problems: list[str] = []

    async def run(self) -> str:
        """Sends all frames, reads the answers and returns how the conversation ended."""
        try:
            if self.talk.init:
                await send_message(self.connection, {"type": "connection_init"})
                await self._receive()
            for frame in self.talk.frames:
                await self._send(frame)
            await send_message(self.connection, _PROBE)
            async with asyncio.timeout(_SWALLOWED if self.raw else SECONDS):
                while self.waiting:
                    await self._receive()
        except ConnectionClosed as closed:
            return self._closed(closed)
        except TimeoutError:
            if self.raw:
                return "swallowed"
            self.problems.append(f"no answer to {' and '.join(sorted(self.waiting))} in time")
            return "silent"
        return "open"

    async def _send(self, frame: Frame) -> None:
        if frame.raw:
            self.connection.transport.write(b"".join(frame.parts))
        elif len(frame.parts) == 1:
            await self.connection.send(frame.parts[0], text=frame.text)
        else:
            await self.connection.send(iter(frame.parts), text=frame.text)

    async def _receive(self) -> None:
        text = await self.connection.recv(decode=False)
        try:
            self._check(read(text))
        except (ValueError, KeyError) as error:
            self.problems.append(f"a message cannot be read: {error!r}")

    def _check(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "next":
                self.problems += result_problems(message["payload"])
                if message["id"] == "probe" and message["payload"].get("data") is None:
                    self.problems.append(f"the question was answered {message['payload']}")
            case "error":
                self.problems += error_problems(message["payload"])
                self.waiting.discard(message["id"])
            case "complete":
                self.waiting.discard(message["id"])

    def _closed(self, closed: ConnectionClosed) -> str:
        if closed.rcvd is None:
            self.problems.append(f"cut off without a close: {closed}")
            return "1006"
        code = closed.rcvd.code
        if code not in _ALLOWED and not 4400 <= code < 4500:
            self.problems.append(f"closed with {code} {closed.rcvd.reason}")
        return str(code)


async def converse(url: str, talk: Conversation) -> Outcome:
    began = time.perf_counter()
    try:
        async with connect(
            address(url),
            subprotocols=[PROTOCOL],  # type: ignore[list-item] # as in tests/support/sockets.py
            max_queue=None,
            max_size=None,
            ping_interval=None,
            open_timeout=SECONDS,
            close_timeout=0.1 if any(frame.raw for frame in talk.frames) else SECONDS,
        ) as connection:
            dialogue = _Talk(connection, talk)
            end = await dialogue.run()
            seconds = time.perf_counter() - began
    except (InvalidHandshake, TimeoutError) as error:
        problem = f"no socket could be opened: {type(error).__name__}"
        return Outcome(talk, "refused", time.perf_counter() - began, [problem])
    return Outcome(talk, end, seconds, dialogue.problems)
