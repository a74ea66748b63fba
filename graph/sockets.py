"""GraphQL over WebSocket: the protocol graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md has the messages and close codes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from graph.context import Context
from graph.live import BadRequest, Live, Rejected, Request, dump
from graph.results import Results
from graph.websocket_protocol import FRAMES, WebSocketProtocol

PROTOCOL: Final = "graphql-transport-ws"
# What a server raises where the other side has closed the socket meanwhile.
_GONE: Final = (WebSocketDisconnect, OSError, RuntimeError)


class Close(IntEnum):
    """Why a socket is closed; below 4000 by RFC 6455, where a client is to come back."""

    RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    NO_SUCH_PROTOCOL = 4406
    INIT_TIMEOUT = 4408
    ID_IN_USE = 4409
    TOO_MANY_INITS = 4429


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to wait for connection_init and for a consumer to take a message; and how many."""

    init_seconds: float
    send_seconds: float
    operations: int
    sockets: int


class _Closed(Exception):
    """The socket is to be closed, with a code and a reason."""

    def __init__(self, code: Close, reason: str) -> None:
        self.code = code
        self.reason = reason


class Sockets:
    """All sockets of this process."""

    def __init__(
        self, live: Live, limits: Limits, context: Callable[[WebSocket], Awaitable[Context]]
    ) -> None:
        self.live = live
        self.limits = limits
        self.context = context
        self._callers: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if PROTOCOL not in websocket.scope["subprotocols"]:
            await websocket.accept()
            await websocket.close(Close.NO_SUCH_PROTOCOL, f"Subprotocol has to be {PROTOCOL}")
            return
        await websocket.accept(PROTOCOL)
        caller = websocket.client.host if websocket.client else ""
        if self._callers[caller] >= self.limits.sockets:
            await websocket.close(Close.TRY_AGAIN_LATER, "Too many sockets are open")
            return
        self._callers[caller] += 1
        try:
            await _Socket(self, websocket).serve()
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


class _Socket:
    def __init__(self, sockets: Sockets, websocket: WebSocket) -> None:
        self.live = sockets.live
        self.limits = sockets.limits
        self.context = sockets.context
        self.websocket = websocket
        extensions = websocket.scope.get("extensions", {})
        self.protocol: WebSocketProtocol | None = extensions.get(FRAMES)
        self.acknowledged = False
        self.operations: dict[str, asyncio.Task[None]] = {}
        self.closing: asyncio.Future[_Closed] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Take messages until somebody closes the socket."""
        reader = asyncio.create_task(self._read())
        timer = asyncio.get_running_loop().call_later(self.limits.init_seconds, self._too_late)
        try:
            ends: set[asyncio.Future[Any]] = {reader, self.closing}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            tasks = [reader, *self.operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.closing.done():
            closed = self.closing.result()
            if self.protocol:
                self.protocol.close_behind(closed.code, closed.reason)
                return
            # A consumer that takes nothing does not take this either.
            with suppress(TimeoutError, *_GONE):
                async with asyncio.timeout(self.limits.send_seconds):
                    await self.websocket.close(closed.code, closed.reason)

    def close(self, code: Close, reason: str) -> None:
        if not self.closing.done():
            self.closing.set_result(_Closed(code, reason))

    def _too_late(self) -> None:
        if not self.acknowledged:
            self.close(Close.INIT_TIMEOUT, "Connection initialisation timeout")

    async def _read(self) -> None:
        try:
            while True:
                message = await self.websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._handle(_message(message.get("text")))
        except _Closed as closed:
            self.close(closed.code, closed.reason)
        except _GONE:
            return  # it went away while it was answered

    async def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "connection_init"}:
                if self.acknowledged:
                    raise _Closed(Close.TOO_MANY_INITS, "Too many initialisation requests")
                if not isinstance(message.get("payload"), dict | None):
                    raise _Closed(Close.BAD_REQUEST, "The payload has to be an object")
                self.acknowledged = True
                await self._send(b'{"type":"connection_ack"}')
            case {"type": "ping"}:
                payload = {"payload": message["payload"]} if "payload" in message else {}
                await self._send(dump({"type": "pong"} | payload))
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(id_), "payload": payload} if id_:
                await self._subscribe(id_, payload)
            case {"type": "complete", "id": str(id_)}:
                if task := self.operations.pop(id_, None):
                    task.cancel()
            case _:
                raise _Closed(Close.BAD_REQUEST, "Invalid message")

    async def _subscribe(self, id_: str, payload: object) -> None:
        if not self.acknowledged:
            raise _Closed(Close.UNAUTHORIZED, "Unauthorized")
        if id_ in self.operations:
            raise _Closed(Close.ID_IN_USE, f"Subscriber for {id_[:60]} already exists")
        try:
            request = Request.of(payload)
        except BadRequest as error:
            raise _Closed(Close.BAD_REQUEST, str(error)) from None
        if len(self.operations) >= self.limits.operations:
            message = f"A socket can have {self.limits.operations} operations at once."
            told = {"message": message, "extensions": {"code": "TOO_MANY_OPERATIONS"}}
            await self._send(dump({"id": id_, "type": "error", "payload": [told]}))
            return
        self.operations[id_] = asyncio.create_task(self._run(id_, request))

    async def _run(self, id_: str, request: Request) -> None:
        """Send the results of one operation; however it ends, the socket goes on."""
        quoted = dump(id_)
        context = await self.context(self.websocket)
        last = b'{"id":%b,"type":"complete"}' % quoted
        try:
            async for results in self.live.results(request, context):
                await self._send_results(b'{"id":%b,"type":"next","payload":' % quoted, results)
            if context.feed.stopping:
                self.close(Close.RESTART, "Service restart: come back with your last cursor")
                return
        except Rejected as rejected:
            last = dump({"id": id_, "type": "error", "payload": rejected.errors})
        except (_Closed, *_GONE):
            return
        # The id is free before the client can hear of it.
        if self.operations.get(id_) is asyncio.current_task():
            del self.operations[id_]
            with suppress(_Closed, *_GONE):
                await self._send(last)

    async def _send_results(self, before: bytes, results: Results) -> None:
        if self.protocol is None:
            for text in results.texts:
                await self._send(before + text + b"}")
            return
        frames = results.frames(before, b"}")
        while not self.protocol.write_frames(frames):
            await self._in_time(self.protocol.caught_up())

    async def _send(self, message: bytes) -> None:
        await self._in_time(self.websocket.send_text(message.decode()))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.limits.send_seconds):
                await sending
        except TimeoutError:
            reason = "Too slow: come back with your last cursor"
            self.close(Close.TRY_AGAIN_LATER, reason)
            raise _Closed(Close.TRY_AGAIN_LATER, reason) from None


def _message(text: str | None) -> dict[str, Any]:
    try:
        message = orjson.loads(text) if text is not None else None
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise _Closed(Close.BAD_REQUEST, "A message is a JSON object, as text")
    return message
