"""Operations whose answer is a stream of results: over a socket or as Server-Sent Events."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Generic, TypeVar

from graphql import ExecutionResult, OperationType, create_source_event_stream, located_error

from graph.execution import Execution, Operation, dump, formatted, rejected
from graph.groups import Groups, Write
from graph.requests import Refused
from graph.results import Results, portions
from graph.subscriptions import Following
from graph.types.user_event import UserEvent
from users.event_pages import Event

K = TypeVar("K")
T = TypeVar("T")

# How much is kept for the other subscribers who ask the same.
_EVENTS: Final = 2_000
_BATCHES: Final = 100
_SLICE: Final = 32  # events that are executed before others have a turn


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
        self._groups = Groups()
        self._texts: _Recent[tuple[bytes, int], bytes] = _Recent(_EVENTS)
        self._batches: _Recent[tuple[bytes, tuple[int, ...]], asyncio.Task[list[Results]]] = (
            _Recent(_BATCHES)
        )

    async def results(
        self, operation: Operation, write: Write | None = None
    ) -> AsyncGenerator[Results, None]:
        """Give the results, those of one moment together; raise Refused where there are none.

        Who can `write` without waiting is written to for as long as what is written is taken, and
        given here only what was not.
        """
        if operation.type is not OperationType.SUBSCRIPTION:
            yield Results([await self._execution.run(operation)])
            return
        following = await self._following(operation)
        asked = _key(operation)
        make = partial(self._share, asked, operation)
        if write:
            following.meanwhile = partial(self._groups.accompany, asked, make, write)
        try:
            async with aclosing(aiter(following)) as batches:
                async for events in batches:
                    for results in await make(events):
                        yield results
        except Refused:
            raise
        except Exception as error:
            raise rejected(operation.context, located_error(error, path=[])) from error

    async def _following(self, operation: Operation) -> Following:
        found: Any = create_source_event_stream(self._execution.executor(operation))
        source = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            raise rejected(operation.context, *(source.errors or ()))
        assert isinstance(source, Following)  # as every field of Subscription gives it
        return source

    async def _share(
        self, asked: bytes, operation: Operation, events: Sequence[Event]
    ) -> list[Results]:
        """Execute for these events, or take it over from who does so for the same caller."""
        key = (asked, tuple([event.id for event in events]))
        task = self._batches.get(key)
        if task is None:
            making = self._make(asked, operation, events)
            task = self._batches.add(key, asyncio.create_task(making))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _make(
        self, asked: bytes, operation: Operation, events: Sequence[Event]
    ) -> list[Results]:
        texts = []
        for n, event in enumerate(events, 1):
            key = (asked, event.id)
            text = self._texts.get(key)
            if text is None:
                result = await self._execution.execute(operation, UserEvent.of(event))
                text = self._texts.add(key, formatted(result, operation.context))
                if n % _SLICE == 0:
                    await asyncio.sleep(0)
            texts.append(text)
        return list(portions(texts, [event.id for event in events]))


def _key(operation: Operation) -> bytes:
    """Give what has to be the same for two subscribers to be given the same.

    All of the caller that results depend on; until when they may is asked of each by themselves.
    """
    caller, request = operation.context.caller, operation.request
    who = [caller.actor.kind, caller.actor.id, sorted(caller.scopes), caller.user_id]
    asked = [request.query, request.document_id, request.variables, request.operation_name]
    return dump([*who, *asked])
