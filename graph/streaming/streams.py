"""Operations that return a stream of results, over a WebSocket or as Server-Sent Events."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final, NamedTuple

from graphql import ExecutionResult, OperationType, located_error

from feed.reader import Event
from feed.subscription import FeedPosition
from graph.api.subscriptions import EventSubscription
from graph.api.types.user_event import UserEvent, encode_cursor
from graph.execution.errors import OperationRejected
from graph.execution.operation import Operation
from graph.protocol.errors import RequestError
from graph.protocol.json import dumps
from graph.streaming.chunks import BATCH_BYTES, ResultBatch, portions
from graph.streaming.fanout import FanOut, Write

# The number of shared results that are kept, and for how many seconds. A result shows users "as
# they are now", so it must not be much older than its delivery.
_BATCHES: Final = 100
_SHARED_SECONDS: Final = 1.0
MAX_MESSAGE: Final = 32 * 1024 * 1024  # bytes of one WebSocket message or server-sent event
_FOLLOWING: Final = "userEvents"  # the field that says itself when it has begun
_SLICE: Final = 32  # events to execute together, before other tasks run


class _Shared(NamedTuple):
    """Results that are computed once for all subscribers with the same key."""

    results: "asyncio.Task[list[ResultBatch]]"
    since: float


class ResultStreams:
    """Executes operations. Subscribers with the same request and rights share one execution."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, batch_bytes: int = BATCH_BYTES
    ) -> None:
        self._clock = clock
        self._batch_bytes = batch_bytes
        self._groups = FanOut()

    async def results(
        self, operation: Operation, write: Write | None = None
    ) -> AsyncGenerator[ResultBatch, None]:
        """Yield batches of results. Raises RequestError if the operation is rejected.

        If `write` is given, results are written to it while it accepts them. The generator then
        yields only the other results: replayed ones and those that `write` refused.
        """
        if operation.type is not OperationType.SUBSCRIPTION:
            yield ResultBatch([_one_message(await operation.run())])
            return
        async with aclosing(await self._subscribe(operation, write)) as results:
            async for result in results:
                yield result

    async def _subscribe(
        self, operation: Operation, write: Write | None
    ) -> AsyncGenerator[ResultBatch, None]:
        if not operation.is_compiled:
            return _executed_by_strawberry(operation)
        source = await operation.subscribe()
        if isinstance(source, EventSubscription):
            return self._follow(operation, source, write)
        return _executed_for_each(operation, source)  # another field of Subscription

    async def _follow(
        self, operation: Operation, following: EventSubscription, write: Write | None
    ) -> AsyncGenerator[ResultBatch, None]:
        asked = _key(operation)
        make = partial(self._results_of, asked, operation)
        if write:
            following.meanwhile = partial(self._groups.accompany, asked, make, write)
        try:
            async with aclosing(following.batches()) as batches:
                async for events in batches:
                    sent = events[0].id - 1
                    for results in await make(following.place, events):
                        if following.place.is_stale:  # the rest may show an erased user
                            following.place.rewind(sent)
                            break
                        yield results
                        sent = results.ids[-1]
        except RequestError:
            raise
        except Exception as error:
            raise OperationRejected([located_error(error, path=[])], operation.context) from error

    async def _results_of(
        self, asked: bytes, operation: Operation, place: FeedPosition, events: Sequence[Event]
    ) -> list[ResultBatch]:
        # Subscribers with the same key share the task that computes the results. A replay is not
        # shared: results of another subscriber may contain values that were erased since.
        if place.is_replaying:
            return await self._make(operation, events)
        kept, now = operation.context.feed.derived, self._clock()
        key = (asked, tuple([event.id for event in events]))
        shared: _Shared | None = kept.get(key)
        if shared is None or now - shared.since > _SHARED_SECONDS:
            shared = _Shared(asyncio.create_task(self._make(operation, events)), now)
            kept[key] = shared
            if len(kept) > _BATCHES:
                del kept[next(iter(kept))]
        return (
            shared.results.result()
            if shared.results.done()
            else await asyncio.shield(shared.results)
        )

    async def _make(self, operation: Operation, events: Sequence[Event]) -> list[ResultBatch]:
        texts: list[bytes] = []
        for start in range(0, len(events), _SLICE):
            if start:
                await asyncio.sleep(0)
            # Together, so that their lookups share statements: a replay has hundreds of events.
            roots = map(UserEvent.of, events[start : start + _SLICE])
            results = await asyncio.gather(*map(operation.execute, roots))
            texts += map(operation.formatted, results)
        operation.context.session.note_delivery()
        cursors = [encode_cursor(event) for event in events]
        ids = [event.id for event in events]
        return list(portions(texts, ids, cursors, self._batch_bytes))


async def _executed_by_strawberry(operation: Operation) -> AsyncGenerator[ResultBatch, None]:
    if _FOLLOWING not in operation.text:
        _begin(operation)
    async with aclosing(operation.stream()) as results:
        async for result in results:
            operation.context.session.note_delivery()
            yield ResultBatch([operation.formatted(result)])


async def _executed_for_each(
    operation: Operation, source: AsyncIterable[Any]
) -> AsyncGenerator[ResultBatch, None]:
    """Execute the operation for each value of a resolver's generator.

    As in Strawberry, an exception of the generator is the last result.
    """
    _begin(operation)
    try:
        async for value in source:
            result = await operation.execute(value)
            operation.context.session.note_delivery()
            yield ResultBatch([operation.formatted(result)])
    except Exception as error:  # noqa: BLE001 - any exception of a resolver
        failed = ExecutionResult(None, [located_error(error, path=[])])
        yield ResultBatch([operation.formatted(failed)])
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


def _begin(operation: Operation) -> None:
    if operation.context.on_begun:
        operation.context.on_begun()


def _one_message(parts: Sequence[bytes]) -> bytes:
    if len(parts) == 1:
        return parts[0]
    if sum(map(len, parts)) > MAX_MESSAGE:
        message = f"The answer has more than {MAX_MESSAGE} bytes, as much as a message can have. "
        raise RequestError("TOO_EXPENSIVE", message + "Ask for less, or by POST.")
    return b"".join(parts)


def _key(operation: Operation) -> bytes:
    # All properties of the caller that results depend on. When a caller's rights end is checked for
    # each subscriber separately.
    caller, request = operation.context.caller, operation.request
    who = [caller.actor.kind, caller.actor.id, sorted(caller.scopes), caller.user_id]
    asked = [request.query, request.document_id, request.variables, request.operation_name]
    return dumps([*who, *asked])
