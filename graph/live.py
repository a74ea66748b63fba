"""Operations whose answer is a stream of results: over a socket or as Server-Sent Events."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from inspect import isawaitable
from typing import Final, Generic, TypeVar

from graphql import ExecutionResult, OperationType, create_source_event_stream, located_error

from graph.execution import Execution, Operation, dump, formatted, rejected
from graph.requests import Refused
from graph.results import Results, portions
from graph.subscriptions import Upcoming
from users.feed import Event

K = TypeVar("K")
T = TypeVar("T")

# How much is kept for the other subscribers who ask the same.
_EVENTS: Final = 2_000
_BATCHES: Final = 100


class _Recent(Generic[K, T]):
    """A dictionary that lets go of what was added first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, T] = {}

    def get(self, key: K) -> T | None:
        return self._values.get(key)

    def add(self, key: K, value: T) -> T:
        self._values[key] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]
        return value


class Live:
    """Gives results as they come; of subscribers that ask the same, one executes for all."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._texts: _Recent[tuple[bytes, int], bytes] = _Recent(_EVENTS)
        self._batches: _Recent[tuple[bytes, tuple[int, ...]], asyncio.Task[list[Results]]] = (
            _Recent(_BATCHES)
        )

    async def results(self, operation: Operation) -> AsyncGenerator[Results, None]:
        """Give the results, those of one moment together; raise Refused where there are none."""
        if operation.type is not OperationType.SUBSCRIPTION:
            yield Results([await self._execution.run(operation)])
            return
        source = await self._source(operation)
        asked = _key(operation)
        try:
            async for events in source:
                for results in await self._share(asked, operation, events):
                    yield results
        except Refused:
            raise
        except Exception as error:
            raise rejected(operation.context, located_error(error, path=[])) from error
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def _source(self, operation: Operation) -> AsyncIterable[Upcoming]:
        found = create_source_event_stream(self._execution.executor(operation))
        source = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            raise rejected(operation.context, *(source.errors or ()))
        return source

    async def _share(self, asked: bytes, operation: Operation, events: Upcoming) -> list[Results]:
        """Execute for these events, or take it over from who does so for the same caller."""
        key = (asked, events.ids)
        task = self._batches.get(key)
        if task is None:
            making = self._make(asked, operation, events)
            task = self._batches.add(key, asyncio.create_task(making))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _make(self, asked: bytes, operation: Operation, events: Upcoming) -> list[Results]:
        texts = []
        for row in events.rows:
            key = (asked, row.id)
            text = self._texts.get(key)
            if text is None:
                made = await self._execute(operation, events, row)
                text = self._texts.add(key, made)
            texts.append(text)
        return list(portions(texts))

    async def _execute(self, operation: Operation, events: Upcoming, row: Event) -> bytes:
        result = await self._execution.execute(operation, events.make(row))
        return formatted(result, operation.context)


def _key(operation: Operation) -> bytes:
    """Give what has to be the same for two subscribers to be given the same.

    All of the caller that results depend on; until when they may is asked of each by themselves.
    """
    caller, request = operation.context.caller, operation.request
    who = [caller.actor.kind, caller.actor.id, sorted(caller.scopes), caller.user_id]
    asked = [request.query, request.document_id, request.variables, request.operation_name]
    return dump([*who, *asked])
