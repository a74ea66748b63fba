"""Work that has not begun: what a coroutine is, except that nobody has to await it.

A coroutine that is dropped before it has begun tells so in the log. Where a sibling fails, or the
operation is cancelled, much is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any

Work = Callable[..., Coroutine[Any, Any, Any]]


class Later:
    """A call of a coroutine function."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Work, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.function(*self.arguments).__await__()


async def together(works: Sequence[Later]) -> list[Any]:
    """Give the results of all; when one fails, the others are cancelled and waited for."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.create_task(work.function(*work.arguments)) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def begun(awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """Begin with what a resolver gave to be awaited, so that it may be dropped.

    Without a running loop there is nothing that could begin it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return awaitable
    future = asyncio.ensure_future(awaitable)
    future.add_done_callback(_take_note)
    return future


def _take_note(future: "asyncio.Future[Any]") -> None:
    """Look at how it ended, or asyncio tells of an exception that nobody has seen."""
    if not future.cancelled():
        future.exception()
