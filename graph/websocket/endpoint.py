"""GraphQL over WebSocket: the protocol graphql-transport-ws.

Messages and close codes: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
from contextlib import AbstractContextManager, ExitStack, aclosing, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from graphql import OperationType
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.guard import Guard, token_of
from graph.execution.schema import Schema
from graph.http.origins import Origins
from graph.limits.client_network import client_network
from graph.limits.throttle import RateLimiter
from graph.observation import ObservedOperation, Operations
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import dumps, read_json
from graph.protocol.request import POSITION, Request
from graph.shutdown import Shutdown, shutting_down
from graph.streaming.chunks import ResultBatch
from graph.streaming.streams import ResultStreams
from graph.websocket.close_codes import (
    ClientGoneError,
    CloseCode,
    ConnectionClosedError,
    code_of,
)
from graph.websocket.sender import GONE, Sender

PROTOCOL: Final = "graphql-transport-ws"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection.

    `init_seconds` is the timeout of `connection_init`, `send_seconds` that of sending a message.
    `operations` is the maximum number of concurrent operations.
    """

    init_seconds: float
    send_seconds: float
    operations: int


class WebSocketEndpoint:
    """The ASGI application that serves all WebSocket connections of the process."""

    def __init__(
        self,
        guard: Guard,
        origins: Origins,
        rate_limiter: RateLimiter,
        schema: Schema,
        live: ResultStreams,
        limits: ConnectionLimits,
        shutdown: Shutdown,
        operations: Operations,
    ) -> None:
        self.guard = guard
        self.rate_limiter = rate_limiter
        self.schema = schema
        self.live = live
        self.limits = limits
        self.shutdown = shutdown
        self.operations = operations
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            self._origins.check(websocket.headers)
        except RequestError as refused:
            self.reject(refused)
            await websocket.close()  # before the handshake, so the response is HTTP 403
            return
        if PROTOCOL not in websocket.scope["subprotocols"]:
            reason = f"Subprotocol must be {PROTOCOL}"
            self.reject(InvalidRequest(reason))
            await websocket.accept()
            await websocket.close(CloseCode.NO_SUCH_PROTOCOL, reason)
            return
        await websocket.accept(PROTOCOL)
        with ExitStack() as counted:
            sender = Sender(websocket, send, self.limits.send_seconds)
            await _Connection(self, websocket, sender, counted).serve()

    def reject(self, error: RequestError) -> None:
        """Report a request that was rejected before it was executed."""
        self.operations.reject(self.operations.begin("websocket"), error)


class _Connection:
    def __init__(
        self,
        sockets: WebSocketEndpoint,
        websocket: WebSocket,
        sender: Sender,
        counted: ExitStack,
    ) -> None:
        self.sockets = sockets
        self.live = sockets.live
        self.limits = sockets.limits
        self.websocket = websocket
        self.sender = sender
        self.counted = counted
        self.unknown = ExitStack()  # the handshake slot, released on connection_init
        self.address = client_network(websocket.scope)
        self.context: Context | None = None  # None until the caller is authenticated
        self.watch: asyncio.Task[None] | None = None
        self.refused: RequestError | None = None  # the caller is no longer accepted
        self.operations: dict[str, asyncio.Task[None]] = {}
        self.closing: asyncio.Future[ConnectionClosedError] = (
            asyncio.get_running_loop().create_future()
        )

    async def serve(self) -> None:
        reader = asyncio.create_task(self._read())
        timer = asyncio.get_running_loop().call_later(self.limits.init_seconds, self._too_late)
        try:
            ends: set[asyncio.Future[Any]] = {reader, self.closing}
            with self.sockets.shutdown.announced_to(self._close_when_done):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            tasks = [reader, *self.operations.values(), *([self.watch] if self.watch else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.closing.done():
            await self.sender.close(self.closing.result(), is_known=self.context is not None)

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closing.done():
            self.closing.set_result(ConnectionClosedError(code, reason))

    def _close_when_done(self) -> None:
        """Close the socket if the server shuts down and no operation is in progress."""
        if self.sockets.shutdown.has_begun and not self.operations:
            self.close(CloseCode.RESTART, "Service restart: come back with your last cursor")

    def _too_late(self) -> None:
        if self.context is None:
            self._give_up_waiting("Connection initialisation timeout")

    def _make_room(self) -> None:
        self._give_up_waiting("Too many sockets wait: initialise the connection immediately")

    def _give_up_waiting(self, reason: str) -> None:
        self.sockets.reject(RequestError("INIT_TIMEOUT", reason))
        self.close(CloseCode.INIT_TIMEOUT, reason)

    async def _read(self) -> None:
        try:
            with self.unknown:
                waiting = self.sockets.rate_limiter.handshake_slot(self.address, self._make_room)
                self.unknown.enter_context(waiting)
                while self.context is None:
                    if not await self._next():
                        return
            while await self._next():
                pass
        except ConnectionClosedError as closed:
            self.sockets.reject(closed.as_request_error())
            self.close(closed.code, closed.reason)
        except ClientGoneError:
            return  # the client disconnected during a response
        except Exception as error:  # noqa: BLE001 - each socket is closed with a code
            refused = server_error(error)  # includes RequestErrors, such as too many connections
            self.sockets.reject(refused)
            self.close(code_of(refused), refused.message)

    async def _next(self) -> bool:
        """Handle one message. Return False if the socket is closed."""
        try:
            message = await self.websocket.receive()
        except GONE:
            return False
        if message["type"] == "websocket.disconnect":
            return False
        await self._handle(_message(message.get("text")))
        return True

    async def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "connection_init"}:
                await self._init(message.get("payload"))
            case {"type": "ping"}:
                payload = {"payload": message["payload"]} if "payload" in message else {}
                await self.sender.send(dumps({"type": "pong"} | payload))
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(id_), "payload": payload} if id_:
                await self._subscribe(id_, payload)
            case {"type": "complete", "id": str(id_)}:
                if task := self.operations.pop(id_, None):
                    task.cancel()
                    self._close_when_done()
            case _:
                raise ConnectionClosedError(CloseCode.BAD_REQUEST, "Invalid message")

    async def _init(self, payload: object) -> None:
        if self.context is not None:
            raise ConnectionClosedError(
                CloseCode.TOO_MANY_INITS, "Too many initialisation requests"
            )
        if not isinstance(payload, dict | None):
            raise ConnectionClosedError(CloseCode.BAD_REQUEST, "The payload must be an object")
        self.unknown.close()
        try:
            token = token_of(self.websocket.headers, payload)
            with self._checking(token):
                context = await self.sockets.guard.authenticate(self.websocket.scope, token)
        except RequestError as refused:
            code = code_of(refused)
            raise ConnectionClosedError(code, refused.message, refused.code) from None
        self.counted.enter_context(self.sockets.rate_limiter.connection_slot(context.throttled_as))
        context.asked_position = _position(payload)
        self.context = context
        if context.token is not None:
            self.watch = asyncio.create_task(self._watch(context))
        await self.sender.send(b'{"type":"connection_ack"}')

    def _checking(self, token: str | None) -> AbstractContextManager[None]:
        # The number of concurrent checks per address is limited. Known credentials need no slot.
        if self.sockets.guard.is_known(self.websocket.scope, token):
            return nullcontext()
        return self.sockets.rate_limiter.connection_slot(f"{self.address} not known yet")

    async def _watch(self, context: Context) -> None:
        self.refused = refused = await self.sockets.guard.wait_until_rejected(
            self.websocket.scope, context
        )
        for id_, task in list(self.operations.items()):
            task.cancel()
            await self._try_to_send(dumps({"id": id_, "type": "error", "payload": refused.errors}))
        self.close(CloseCode.UNAUTHORIZED, "Unauthorized: come back with a new token")

    async def _subscribe(self, id_: str, payload: object) -> None:
        if self.context is None:
            raise ConnectionClosedError(CloseCode.UNAUTHORIZED, "Unauthorized", "UNAUTHENTICATED")
        if id_ in self.operations:
            raise ConnectionClosedError(
                CloseCode.ID_IN_USE, f"Subscriber for {id_[:60]} already exists"
            )
        try:
            request = Request.of(payload)
        except InvalidRequest as error:
            raise ConnectionClosedError(CloseCode.BAD_REQUEST, error.message) from None
        if refused := self._rejection():
            self.sockets.reject(refused)
            await self.sender.send(dumps({"id": id_, "type": "error", "payload": refused.errors}))
            return
        self._start(id_, request, self.context)

    def _start(self, id_: str, request: Request, known: Context) -> None:
        # Observers see the operation in the context of its task, which has a span of its own.
        context = copy_context()
        observed = context.run(self.sockets.operations.begin, "websocket")
        running = self._run(id_, request, known, observed)
        self.operations[id_] = task = asyncio.create_task(running, context=context)
        if observed:  # a task that is cancelled before its first step does not run at all
            task.add_done_callback(lambda _: observed.end(), context=context)

    def _rejection(self) -> RequestError | None:
        if self.sockets.shutdown.has_begun:
            return shutting_down()
        if len(self.operations) >= self.limits.operations:
            message = f"A socket can have {self.limits.operations} concurrent operations."
            return RequestError("TOO_MANY_OPERATIONS", message)
        return None

    async def _run(
        self, id_: str, request: Request, known: Context, observed: ObservedOperation | None
    ) -> None:
        try:
            last = await self._last_message(id_, request, known, observed)
        finally:
            if observed:
                observed.end()
        if last is None:
            return
        # The id is released before the last message is sent: the client can reuse it immediately.
        if self.operations.get(id_) is asyncio.current_task():
            del self.operations[id_]
            if last:
                await self._try_to_send(last)
            self._close_when_done()

    async def _last_message(
        self, id_: str, request: Request, known: Context, observed: ObservedOperation | None
    ) -> bytes | None:
        """Execute an operation. Return its last message, or None if the socket is closed.

        An operation that fails ends with an error message. The socket stays open.
        """
        quoted = dumps(id_)
        before = b'{"id":%b,"type":"next","payload":' % quoted
        try:
            with self.sockets.shutdown.interruptible():
                is_complete = await self._execute(id_, request, known, before, observed)
        except ConnectionClosedError as closed:
            _reject(observed, closed.as_request_error())
            self.close(closed.code, closed.reason)
            return None
        except ClientGoneError:
            return None
        except asyncio.CancelledError:
            if self.refused:
                _reject(observed, self.refused)
            raise
        except Exception as error:  # noqa: BLE001 - each operation ends with a message
            refused = server_error(error, known.request_id)
            _reject(observed, refused)
            return dumps({"id": id_, "type": "error", "payload": refused.errors})
        return b'{"id":%b,"type":"complete"}' % quoted if is_complete else b""

    async def _execute(
        self,
        id_: str,
        request: Request,
        known: Context,
        before: bytes,
        observed: ObservedOperation | None,
    ) -> bool:
        """Send all results. Return False if a shutdown interrupted a subscription.

        Such a subscription gets no `complete` message: the client resumes it after a reconnect.
        """
        context = await self.sockets.guard.reauthenticate(self.websocket.scope, known)
        context.asked_position = known.asked_position
        context.observed = observed
        await self.sockets.rate_limiter.acquire(context.throttled_as)
        operation = await self.sockets.schema.prepare(request, context)
        write = partial(self._write, id_, asyncio.current_task(), before)
        coming = self.live.results(operation, write if self.sender.writes_frames else None)
        subscribes = operation.type is OperationType.SUBSCRIPTION
        try:
            async with aclosing(coming):
                async for results in coming:
                    await self.sender.send_results(before, results)
        except asyncio.CancelledError:
            if not (subscribes and self.sockets.shutdown.is_over):
                raise
        return not (subscribes and context.feed.is_stopping)

    def _write(
        self, id_: str, task: asyncio.Task[None] | None, before: bytes, results: ResultBatch
    ) -> bool:
        """Send results without waiting. Return False if the operation has ended or must wait."""
        return self.operations.get(id_) is task and self.sender.write(before, results)

    async def _try_to_send(self, message: bytes) -> None:
        try:
            await self.sender.send(message)
        except ConnectionClosedError as closed:
            self.close(closed.code, closed.reason)
        except ClientGoneError:
            pass


def _reject(observed: ObservedOperation | None, error: RequestError) -> None:
    if observed:
        observed.reject(error)


def _position(payload: dict[str, Any] | None) -> str | None:
    position = (payload or {}).get(POSITION)
    return position if isinstance(position, str) else None


def _message(text: str | None) -> dict[str, Any]:
    try:
        message = None if text is None else read_json(text.encode("utf-8", "surrogatepass"))
    except InvalidRequest:
        message = None
    if not isinstance(message, dict):
        raise ConnectionClosedError(
            CloseCode.BAD_REQUEST, "A message must be a JSON object, as text"
        )
    return message
