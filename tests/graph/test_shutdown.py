"""Shutdown: requests in progress are finished or interrupted with an error."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from graph.protocol.errors import RequestError
from graph.shutdown import MAY_BE_DONE, Shutdown, shutting_down


def refused(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": "SHUTTING_DOWN"}}]}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0.01)


async def test_interrupted_request_reports_whether_it_may_have_been_executed() -> None:
    """The outer block does not see the interruption."""
    shutdown, started = Shutdown(3600), asyncio.Event()

    async def work() -> str:
        with shutdown.interruptible():
            try:
                with shutdown.interruptible():
                    try:
                        started.set()
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        assert shutdown.has_interrupted()
                        raise shutting_down(MAY_BE_DONE) from None
            except RequestError as refused:
                await asyncio.sleep(0)  # not interrupted again
                return refused.message
        return "not interrupted"

    task = asyncio.create_task(work())
    await started.wait()
    await shutdown.finish()
    assert await task == MAY_BE_DONE
    assert task.cancelling() == 0


async def test_request_that_ignores_an_interruption_is_interrupted_again() -> None:
    shutdown, started, times = Shutdown(0), asyncio.Event(), []

    async def work() -> None:
        with shutdown.interruptible():
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                times.append(1)
                await asyncio.Event().wait()  # a clean-up that never ends

    task = asyncio.create_task(work())
    await started.wait()
    shutdown.begin()
    with pytest.raises(RequestError) as caught:
        await task
    assert (caught.value.status, caught.value.code, times) == (503, "SHUTTING_DOWN", [1])
    assert task.cancelling() == 0


async def test_cancellation_by_others_is_not_converted() -> None:
    shutdown, started = Shutdown(0), asyncio.Event()

    async def work() -> None:
        with shutdown.interruptible():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_interruptible_block_is_rejected_after_the_grace_period() -> None:
    shutdown, begun = Shutdown(0), []
    shutdown.begin()
    with shutdown.announced_to(lambda: begun.append(1)):
        assert begun == [1]
    await until(lambda: shutdown.is_over)
    with pytest.raises(RequestError), shutdown.interruptible():
        begun.append(2)
    assert begun == [1]
    await shutdown.finish()  # the application can be started again
    with shutdown.interruptible():
        pass
