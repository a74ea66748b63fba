"""GraphQL over Server-Sent Events: one operation per request.

This is the "distinct connections mode" of graphql-sse:
https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from itertools import chain, repeat
from typing import Any, Final

from graphql import OperationType

from graph.api.errors import server_error
from graph.execution.operation import Operation
from graph.protocol.errors import RequestError
from graph.protocol.json import dumps
from graph.shutdown import Shutdown
from graph.streaming.chunks import ResultBatch
from graph.streaming.streams import ResultStreams

KEEP_ALIVE_SECONDS: Final = 12
_COMPLETE: Final = b"event: complete\ndata:\n\n"
_ENDING: Final[set[asyncio.Future[None]]] = set()
_COME_BACK: Final = b"retry: 1000\n: service restart, come back with your last cursor\n\n"


async def events(
    live: ResultStreams,
    operation: Operation,
    ended: Callable[[], Awaitable[RequestError]],
    counted: AbstractContextManager[None],
    shutdown: Shutdown,
) -> AsyncGenerator[bytes, None]:
    """Yield the results of an operation as events, with keep-alive comments in between.

    A subscription holds `counted`, a connection slot, while it runs. It ends with the error that
    `ended` returns when its caller is no longer accepted.
    """
    if operation.type is not OperationType.SUBSCRIPTION:
        counted = nullcontext()
    observed = operation.context.observed
    try:
        with counted:
            async with aclosing(_events(live, operation, ended, shutdown)) as stream:
                async for event in stream:
                    yield event
    except Exception as error:  # noqa: BLE001 - each error ends the stream with an event
        refused = server_error(error, operation.context.request_id)
        if observed:
            observed.reject(refused)
        yield refusal(refused)
    finally:
        if observed:
            observed.end()


async def _events(
    live: ResultStreams,
    operation: Operation,
    ended: Callable[[], Awaitable[RequestError]],
    shutdown: Shutdown,
) -> AsyncGenerator[bytes, None]:
    # The first comment sends the headers. A client whose stream is open misses no event, so that
    # of a subscription waits for its position in the feed.
    can_open = asyncio.get_running_loop().create_future()
    operation.context.on_begun = partial(_resolve, can_open)
    coming = live.results(operation)
    upcoming = asyncio.ensure_future(_next(coming, shutdown))
    watch: asyncio.Future[RequestError] | None = None
    if operation.type is OperationType.SUBSCRIPTION:
        watch = asyncio.ensure_future(ended())
    else:
        can_open.set_result(None)
    opening: set[asyncio.Future[Any]] = {can_open}
    try:
        while True:
            waiting = {upcoming} | opening | ({watch} if watch else set())
            await asyncio.wait(waiting, timeout=KEEP_ALIVE_SECONDS, return_when=FIRST_COMPLETED)
            opening = set()
            if watch and watch.done():
                raise watch.result()
            if not upcoming.done():
                yield b":\n\n"
                continue
            try:
                results = upcoming.result()
            except RequestError:
                if not (watch and shutdown.is_over):
                    raise
                break  # a shutdown: the client resumes the subscription after a reconnect
            if results is None:
                break
            yield b"".join(map(_event, results.texts, chain(results.cursors, repeat(""))))
            upcoming = asyncio.ensure_future(_next(coming, shutdown))
        yield _COME_BACK if watch and operation.context.feed.is_stopping else _COMPLETE
    finally:
        # In a separate task: the server can cancel this generator repeatedly during the cleanup.
        ending = asyncio.ensure_future(_end([upcoming, *([watch] if watch else [])], coming))
        _ENDING.add(ending)
        ending.add_done_callback(_ENDING.discard)
        await asyncio.shield(ending)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _next(
    coming: AsyncGenerator[ResultBatch, None], shutdown: Shutdown
) -> ResultBatch | None:
    with shutdown.interruptible():
        return await anext(coming, None)


def refusal(refused: RequestError) -> bytes:
    """Return the complete stream of an operation that failed before execution."""
    return _event(dumps({"errors": refused.errors})) + _COMPLETE


async def _end(tasks: list[asyncio.Future[Any]], coming: AsyncGenerator[ResultBatch, None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await coming.aclose()


def _event(result: bytes, cursor: str = "") -> bytes:
    # The cursor is the event id: EventSource sends it as Last-Event-ID when it reconnects.
    named = f"id: {cursor}\n".encode() if cursor else b""
    return b"event: next\ndata: %b\n%b\n" % (result, named)
