"""Calls that have not started.

Python warns about a coroutine that is dropped before it starts. The compiler drops work if a
sibling fails or the operation is cancelled, so it passes calls instead of coroutines.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", contravariant=True)  # noqa: PLC0105 - the key of a loader
U = TypeVar("U")

CoroutineFunction = Callable[..., Coroutine[Any, Any, Any]]


class Loader(Protocol[K]):
    def load(self, keys: Sequence[K], /) -> "asyncio.Future[list[Any]]":
        """Return a future of one value per key, in their order. Never raises."""


class Lookup(Generic[K, U]):
    """A result of a resolver: `make(value)` of the value that a loader returns for the key.

    It can also be awaited. The lookups of one object that have the same loader share one call of
    it.
    """

    __slots__ = ("key", "loader", "make")

    def __init__(self, loader: Loader[K], key: K, make: Callable[[Any], U]) -> None:
        self.loader = loader
        self.key = key
        self.make = make

    def __await__(self) -> Generator[Any, Any, U]:
        [value] = yield from self.loader.load([self.key]).__await__()
        return self.make(value)


class Deferred:
    """A call of a coroutine function."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: CoroutineFunction, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.function(*self.arguments).__await__()


class AfterLookup:
    """A call of a plain function after a lookup has ended. It may return Deferred."""

    __slots__ = ("arguments", "function", "lookup")

    def __init__(
        self, lookup: "asyncio.Future[Any]", function: Callable[..., Any], *arguments: Any
    ) -> None:
        self.lookup = lookup
        self.function = function
        self.arguments = arguments

    async def call(self) -> Any:
        if not self.lookup.done():
            with suppress(Exception):  # the function handles the error
                await self.lookup
        return self.function(*self.arguments)

    def __await__(self) -> Generator[Any, Any, Any]:
        value = yield from self.call().__await__()
        return (yield from value.__await__()) if value.__class__ is Deferred else value


async def gather(calls: Sequence[Deferred | AfterLookup]) -> list[Any]:
    """Return all results. If a call fails, the others are cancelled and awaited first."""
    if len(calls) == 1:
        return [await calls[0]]
    results: list[Any] = [None] * len(calls)
    tasks = {n: _task(call) for n, call in enumerate(calls) if isinstance(call, Deferred)}
    try:
        if len(tasks) < len(calls):
            for index, call in enumerate(calls):
                if isinstance(call, AfterLookup):
                    # Most lookups have ended already, many in one batch. They need no task.
                    is_done = call.lookup.done()
                    value = call.function(*call.arguments) if is_done else await call.call()
                    if value.__class__ is Deferred:
                        tasks[index] = _task(value)
                    results[index] = value
        if tasks:
            for index, result in zip(tasks, await asyncio.gather(*tasks.values()), strict=True):
                results[index] = result
    except BaseException:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        raise
    return results


def _task(call: Deferred) -> "asyncio.Task[Any]":
    return asyncio.create_task(call.function(*call.arguments))


def start(awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """Start an awaitable, so that it can be dropped. Without a running loop, return it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return awaitable
    future = asyncio.ensure_future(awaitable)
    future.add_done_callback(retrieve_exception)
    return future


def retrieve_exception(future: "asyncio.Future[Any]") -> None:
    # Otherwise asyncio logs that the exception was never retrieved.
    if not future.cancelled():
        future.exception()
