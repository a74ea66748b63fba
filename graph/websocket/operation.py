"""One operation of a socket, from `subscribe` to its last message."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from graphql import OperationType
from starlette.types import Scope

from graph.api.context import Context
from graph.api.errors import server_error
from graph.auth.guard import Guard
from graph.execution.schema import Schema
from graph.limits.throttle import RateLimiter
from graph.observation import ObservedOperation, Operations
from graph.protocol.errors import RequestError
from graph.protocol.json import dumps
from graph.protocol.request import Request
from graph.shutdown import Shutdown
from graph.streaming.chunks import ResultBatch
from graph.streaming.streams import ResultStreams
from graph.websocket.close_codes import ClientGoneError, ConnectionClosedError
from graph.websocket.sender import Sender

# The time after which later operations no longer wait for a subscription's position. If the
# database cannot be reached, they fail fast.
_BEGIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """What the sockets of the process share."""

    guard: Guard
    rate_limiter: RateLimiter
    schema: Schema
    live: ResultStreams
    shutdown: Shutdown
    operations: Operations

    def reject(self, error: RequestError) -> None:
        """Report a request that was rejected before it was executed."""
        self.operations.reject(self.operations.begin("websocket"), error)


def error_message(id_: str, error: RequestError) -> bytes:
    return dumps({"id": id_, "type": "error", "payload": error.errors})


class SocketOperation:
    """An operation and its task. After `cancel` it sends nothing.

    A query or mutation waits until the `earlier` operations of its socket have `begun`, so that
    subscriptions among them deliver all that it changes.
    """

    task: asyncio.Task[None]
    _observed: ObservedOperation | None

    def __init__(
        self,
        services: Services,
        sender: Sender,
        id_: str,
        earlier: "Sequence[SocketOperation]" = (),
    ) -> None:
        self.id = id_
        self.is_cancelled = False
        self.begun = asyncio.Event()
        self._earlier = [operation.begun for operation in earlier]
        self._services = services
        self._sender = sender
        quoted = dumps(id_)
        self._before = b'{"id":%b,"type":"next","payload":' % quoted
        self._complete = b'{"id":%b,"type":"complete"}' % quoted
        self._refused: RequestError | None = None

    def start(self, run: Coroutine[Any, Any, None]) -> None:
        # Observers see the operation in the context of its task, which has a span of its own.
        context = copy_context()
        self._observed = observed = context.run(self._services.operations.begin, "websocket")
        self.task = asyncio.create_task(run, context=context)
        if observed:  # a task that is cancelled before its first step does not run at all
            self.task.add_done_callback(lambda _: observed.end(), context=context)

    def cancel(self, refused: RequestError | None = None) -> None:
        """`refused` is the reason that observers see, if the caller is no longer accepted."""
        self.is_cancelled = True
        self._refused = refused
        self.begun.set()
        self.task.cancel()

    async def execute(self, request: Request, caller: Context, scope: Scope) -> bytes:
        """Send all results. Return the last message, which the caller sends.

        `caller` is the context of the socket. An operation that fails ends with an error message.
        The message is empty if a shutdown interrupted a subscription: the client resumes it after
        a reconnect. Raises ConnectionClosedError or ClientGoneError if the socket ends.
        """
        try:
            with self._services.shutdown.interruptible():
                is_complete = await self._send_results(request, caller, scope)
        except ConnectionClosedError as closed:
            self._reject(closed.as_request_error())
            raise
        except ClientGoneError:
            raise
        except asyncio.CancelledError:
            if self._refused:
                self._reject(self._refused)
            raise
        except Exception as error:  # noqa: BLE001 - each operation ends with a message
            refused = server_error(error, caller.request_id)
            self._reject(refused)
            return error_message(self.id, refused)
        finally:
            self.begun.set()
            if self._observed:
                self._observed.end()
        return self._complete if is_complete else b""

    async def _send_results(self, request: Request, caller: Context, scope: Scope) -> bool:
        """Return False if a shutdown interrupted a subscription."""
        services = self._services
        context = await services.guard.reauthenticate(scope, caller)
        context.asked_position = caller.asked_position
        context.observed = self._observed
        await services.rate_limiter.acquire(context.throttled_as)
        operation = await services.schema.prepare(request, context)
        coming = services.live.results(
            operation, self._write if self._sender.writes_frames else None
        )
        subscribes = operation.type is OperationType.SUBSCRIPTION
        if subscribes:
            context.on_begun = self.begun.set
            asyncio.get_running_loop().call_later(_BEGIN_SECONDS, self.begun.set)
        else:
            self.begun.set()
            for begun in self._earlier:
                await begun.wait()
        try:
            async with aclosing(coming):
                async for results in coming:
                    await self._sender.send_results(self._before, results)
        except asyncio.CancelledError:
            if not (subscribes and services.shutdown.is_over):
                raise
        return not (subscribes and context.feed.is_stopping)

    def _write(self, results: ResultBatch) -> bool:
        """Send results without waiting. Return False if the operation has ended or must wait."""
        return not self.is_cancelled and self._sender.write(self._before, results)

    def _reject(self, error: RequestError) -> None:
        if self._observed:
            self._observed.reject(error)
