"""Work that has not begun: what a coroutine is, except that nobody has to await it.

A coroutine that is dropped before it has begun tells so in the log. Where a sibling fails, or the
operation is cancelled, much is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", contravariant=True)  # noqa: PLC0105 - of what looks up
U = TypeVar("U")

Work = Callable[..., Coroutine[Any, Any, Any]]


class Asks(Protocol[K]):
    """Looks up by keys."""

    def load(self, keys: Sequence[K], /) -> "asyncio.Future[list[Any]]":
        """Ask for what there is of each key, in their order. Never raises."""


class Lookup(Generic[K, U]):
    """What a resolver gives that is to be looked up: `make` makes it of what is found.

    Anybody can await it. Fields of one object that want something of the same `of` ask at once.
    """

    __slots__ = ("key", "make", "of")

    def __init__(self, of: Asks[K], key: K, make: Callable[[Any], U]) -> None:
        self.of = of
        self.key = key
        self.make = make

    def __await__(self) -> Generator[Any, Any, U]:
        [found] = yield from self.of.load([self.key]).__await__()
        return self.make(found)


class Later:
    """A call of a coroutine function."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Work, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.function(*self.arguments).__await__()


class Asked:
    """A call of a plain function, when what was asked for is there. It may give Later."""

    __slots__ = ("arguments", "asked", "function")

    def __init__(
        self, asked: "asyncio.Future[Any]", function: Callable[..., Any], *arguments: Any
    ) -> None:
        self.asked = asked
        self.function = function
        self.arguments = arguments

    async def there(self) -> Any:
        if not self.asked.done():
            with suppress(Exception):  # the function looks how it ended
                await self.asked
        return self.function(*self.arguments)

    def __await__(self) -> Generator[Any, Any, Any]:
        found = yield from self.there().__await__()
        return (yield from found.__await__()) if found.__class__ is Later else found


async def together(works: Sequence[Later | Asked]) -> list[Any]:
    """Give the results of all; when one fails, the others are cancelled and waited for."""
    if len(works) == 1:
        return [await works[0]]
    results: list[Any] = [None] * len(works)
    tasks = {n: _task(work) for n, work in enumerate(works) if isinstance(work, Later)}
    try:
        if len(tasks) < len(works):
            for index, work in enumerate(works):
                if isinstance(work, Asked):
                    asked = work.asked
                    found = work.function(*work.arguments) if asked.done() else await work.there()
                    if found.__class__ is Later:
                        tasks[index] = _task(found)
                    results[index] = found
        if tasks:
            for index, result in zip(tasks, await asyncio.gather(*tasks.values()), strict=True):
                results[index] = result
    except BaseException:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        raise
    return results


def _task(work: Later) -> "asyncio.Task[Any]":
    return asyncio.create_task(work.function(*work.arguments))


def begun(awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """Begin with what a resolver gave to be awaited, so that it may be dropped.

    Without a running loop there is nothing that could begin it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return awaitable
    future = asyncio.ensure_future(awaitable)
    future.add_done_callback(take_note)
    return future


def take_note(future: "asyncio.Future[Any]") -> None:
    """Look at how it ended, or asyncio tells of an exception that nobody has seen."""
    if not future.cancelled():
        future.exception()
