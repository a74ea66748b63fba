"""The end of a server process: requests in progress are answered, workers end with their parent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from graph.protocol.errors import RequestError
from graph.shutdown import MAY_BE_DONE, Shutdown


def refused(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": "SHUTTING_DOWN"}}]}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the end of a process that is not our own is not told
        await asyncio.sleep(0.01)


async def test_an_interrupted_request_says_whether_it_may_have_been_executed() -> None:
    """And an outer block does not see the interruption any more."""
    shutdown, began = Shutdown(3600), asyncio.Event()

    async def work() -> str:
        with shutdown.interruptible():
            try:
                with shutdown.interruptible():
                    try:
                        began.set()
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        shutdown.raise_if_interrupted(MAY_BE_DONE)
            except RequestError as refused:
                await asyncio.sleep(0)  # which is not interrupted
                return refused.message
        return "not interrupted"

    task = asyncio.create_task(work())
    await began.wait()
    await shutdown.finish()
    assert await task == MAY_BE_DONE
    assert task.cancelling() == 0


async def test_a_request_that_does_not_end_when_interrupted_is_interrupted_again() -> None:
    shutdown, began, times = Shutdown(0), asyncio.Event(), []

    async def work() -> None:
        with shutdown.interruptible():
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                times.append(1)
                await asyncio.Event().wait()  # a clean-up that never ends

    task = asyncio.create_task(work())
    await began.wait()
    shutdown.begin()
    with pytest.raises(RequestError) as caught:
        await task
    assert (caught.value.status, caught.value.code, times) == (503, "SHUTTING_DOWN", [1])
    assert task.cancelling() == 0


async def test_a_cancellation_that_is_not_the_shutdown_passes_unchanged() -> None:
    shutdown, began = Shutdown(0), asyncio.Event()

    async def work() -> None:
        with shutdown.interruptible():
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_block_is_entered_after_the_grace_period() -> None:
    shutdown, begun = Shutdown(0), []
    shutdown.begin()
    with shutdown.announced_to(lambda: begun.append(1)):
        assert begun == [1]
    await until(lambda: shutdown.is_over)
    with pytest.raises(RequestError), shutdown.interruptible():
        begun.append(2)
    assert begun == [1]
    await shutdown.finish()  # and the application can be started again
    with shutdown.interruptible():
        pass
