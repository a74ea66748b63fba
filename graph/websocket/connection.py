"""One connection: its handshake, its messages and its end."""

import asyncio
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket

from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.guard import token_of
from graph.limits.client_network import client_network
from graph.protocol.errors import InvalidRequest, RequestError
from graph.protocol.json import dumps, read_json
from graph.protocol.request import POSITION, Request
from graph.shutdown import shutting_down
from graph.websocket.close_codes import (
    ClientGoneError,
    CloseCode,
    ConnectionClosedError,
    code_of,
)
from graph.websocket.operation import Services, SocketOperation, error_message
from graph.websocket.sender import GONE, Sender


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection.

    `init_seconds` is the timeout of `connection_init`, `send_seconds` that of sending a message.
    `operations` is the maximum number of concurrent operations.
    """

    init_seconds: float
    send_seconds: float
    operations: int


class Connection:
    def __init__(
        self, services: Services, limits: ConnectionLimits, websocket: WebSocket, sender: Sender
    ) -> None:
        self._services = services
        self._limits = limits
        self._websocket = websocket
        self._sender = sender
        self._slot = ExitStack()  # the caller's slot, released when the socket is closed
        self._handshake = ExitStack()  # the handshake slot, released on connection_init
        self._address = client_network(websocket.scope)
        self._caller: Context | None = None  # None until the caller is authenticated
        self._watch: asyncio.Task[None] | None = None
        self._operations: dict[str, SocketOperation] = {}
        self._closing: asyncio.Future[ConnectionClosedError] = (
            asyncio.get_running_loop().create_future()
        )

    async def serve(self) -> None:
        """Handle the messages of the client until one side closes the socket."""
        with self._slot:
            await self._serve()
            if self._closing.done():
                is_known = self._caller is not None
                await self._sender.close(self._closing.result(), is_known=is_known)

    async def _serve(self) -> None:
        reader = asyncio.create_task(self._read())
        timer = asyncio.get_running_loop().call_later(self._limits.init_seconds, self._too_late)
        try:
            ends: set[asyncio.Future[Any]] = {reader, self._closing}
            with self._services.shutdown.announced_to(self._close_when_done):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            running = list(self._operations.values())
            for operation in running:
                operation.cancel()
            others = [reader, *([self._watch] if self._watch else [])]
            for task in others:
                task.cancel()
            tasks = [*others, *(operation.task for operation in running)]
            await asyncio.gather(*tasks, return_exceptions=True)

    def _close(self, code: CloseCode, reason: str) -> None:
        if not self._closing.done():
            self._closing.set_result(ConnectionClosedError(code, reason))

    def _close_when_done(self) -> None:
        """Close the socket if the server shuts down and no operation is in progress."""
        if self._services.shutdown.has_begun and not self._operations:
            self._close(CloseCode.RESTART, "Service restart: come back with your last cursor")

    def _too_late(self) -> None:
        if self._caller is None:
            self._give_up_waiting("Connection initialisation timeout")

    def _make_room(self) -> None:
        self._give_up_waiting("Too many sockets wait: initialise the connection immediately")

    def _give_up_waiting(self, reason: str) -> None:
        self._services.reject(RequestError("INIT_TIMEOUT", reason))
        self._close(CloseCode.INIT_TIMEOUT, reason)

    # Messages of the client

    async def _read(self) -> None:
        try:
            with self._handshake:
                slot = self._services.rate_limiter.handshake_slot(self._address, self._make_room)
                self._handshake.enter_context(slot)
                while self._caller is None:
                    if not await self._next():
                        return
            while await self._next():
                pass
        except ConnectionClosedError as closed:
            self._services.reject(closed.as_request_error())
            self._close(closed.code, closed.reason)
        except ClientGoneError:
            return  # the client disconnected during a response
        except Exception as error:  # noqa: BLE001 - each socket is closed with a code
            refused = server_error(error)  # includes RequestErrors, such as too many connections
            self._services.reject(refused)
            self._close(code_of(refused), refused.message)

    async def _next(self) -> bool:
        """Handle one message. Return False if the socket is closed."""
        try:
            message = await self._websocket.receive()
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
                await self._sender.send(dumps({"type": "pong"} | payload))
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(id_), "payload": payload} if id_:
                await self._subscribe(id_, payload)
            case {"type": "complete", "id": str(id_)}:
                if operation := self._operations.pop(id_, None):
                    operation.cancel()
                    self._close_when_done()
            case _:
                raise ConnectionClosedError(CloseCode.BAD_REQUEST, "Invalid message")

    # The caller

    async def _init(self, payload: object) -> None:
        if self._caller is not None:
            raise ConnectionClosedError(
                CloseCode.TOO_MANY_INITS, "Too many initialisation requests"
            )
        if not isinstance(payload, dict | None):
            raise ConnectionClosedError(CloseCode.BAD_REQUEST, "The payload must be an object")
        self._handshake.close()
        try:
            token = token_of(self._websocket.headers, payload)
            with self._checking(token):
                caller = await self._services.guard.authenticate(self._websocket.scope, token)
        except RequestError as refused:
            code = code_of(refused)
            raise ConnectionClosedError(code, refused.message, refused.code) from None
        slot = self._services.rate_limiter.connection_slot(caller.throttled_as)
        self._slot.enter_context(slot)
        caller.asked_position = _position(payload)
        self._caller = caller
        if caller.token is not None:
            self._watch = asyncio.create_task(self._watch_caller(caller))
        await self._sender.send(b'{"type":"connection_ack"}')

    def _checking(self, token: str | None) -> AbstractContextManager[None]:
        # The number of concurrent checks per address is limited. Known credentials need no slot.
        if self._services.guard.is_known(self._websocket.scope, token):
            return nullcontext()
        return self._services.rate_limiter.connection_slot(f"{self._address} not known yet")

    async def _watch_caller(self, caller: Context) -> None:
        """Close the socket when the caller is no longer accepted."""
        refused = await self._services.guard.wait_until_rejected(self._websocket.scope, caller)
        operations = list(self._operations.values())
        for operation in operations:
            operation.cancel(refused)
        for operation in operations:
            await self._try_to_send(error_message(operation.id, refused))
        self._close(CloseCode.UNAUTHORIZED, "Unauthorized: come back with a new token")

    # Operations

    async def _subscribe(self, id_: str, payload: object) -> None:
        if self._caller is None:
            raise ConnectionClosedError(CloseCode.UNAUTHORIZED, "Unauthorized", "UNAUTHENTICATED")
        if id_ in self._operations:
            raise ConnectionClosedError(
                CloseCode.ID_IN_USE, f"Subscriber for {id_[:60]} already exists"
            )
        try:
            request = Request.of(payload)
        except InvalidRequest as error:
            raise ConnectionClosedError(CloseCode.BAD_REQUEST, error.message) from None
        if refused := self._rejection():
            self._services.reject(refused)
            await self._sender.send(error_message(id_, refused))
            return
        earlier = [running for running in self._operations.values() if not running.begun.is_set()]
        operation = SocketOperation(self._services, self._sender, id_, earlier)
        self._operations[id_] = operation
        operation.start(self._run(operation, request, self._caller))

    def _rejection(self) -> RequestError | None:
        if self._services.shutdown.has_begun:
            return shutting_down()
        if len(self._operations) >= self._limits.operations:
            message = f"A socket can have {self._limits.operations} concurrent operations."
            return RequestError("TOO_MANY_OPERATIONS", message)
        return None

    async def _run(self, operation: SocketOperation, request: Request, caller: Context) -> None:
        try:
            last = await operation.execute(request, caller, self._websocket.scope)
        except ConnectionClosedError as closed:
            self._close(closed.code, closed.reason)
            return
        except ClientGoneError:
            return
        if operation.is_cancelled:
            return
        # The id is released before the last message is sent: the client can reuse it immediately.
        del self._operations[operation.id]
        if last:
            await self._try_to_send(last)
        self._close_when_done()

    async def _try_to_send(self, message: bytes) -> None:
        try:
            await self._sender.send(message)
        except ConnectionClosedError as closed:
            self._close(closed.code, closed.reason)
        except ClientGoneError:
            pass


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
