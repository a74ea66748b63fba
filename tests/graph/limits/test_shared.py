"""Shared rate limits whose storage fails, does not answer, and comes back."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from limits import parse
from structlog.testing import capture_logs

from graph.limits.shared import MAX_BATCH, Digest, SharedLimits, Timing
from graph.limits.sliding_window import Quota
from tests.support.loop_time import pass_time
from tests.support.rate_storage import FakeWindows, plain_digest

RATE = parse("1000/hour")
LOCAL = {"event": "rate limits are counted by each process", "log_level": "warning"}
SHARED = {"event": "rate limits are shared", "log_level": "info"}


@pytest.fixture
def windows() -> FakeWindows:
    return FakeWindows()


@pytest.fixture
async def shared(windows: FakeWindows) -> AsyncIterator[SharedLimits]:
    shared = SharedLimits(windows, Timing(answer=60, connect=60, retry=3600))
    await shared.start(plain_digest)
    yield shared
    await shared.close()


def hit(shared: SharedLimits, key: str) -> "asyncio.Task[Quota | None]":
    return asyncio.create_task(shared.hit(RATE, "caller", key))


async def unanswered(windows: FakeWindows, shared: SharedLimits) -> "asyncio.Task[Quota | None]":
    """Sends a hit for `ada` that is not answered before the gate opens."""
    windows.gate.clear()
    sent = hit(shared, "ada")
    await asyncio.sleep(0.01)
    return sent


async def left(shared: SharedLimits, *keys: str) -> list[int | None]:
    quotas = await asyncio.gather(*(hit(shared, key) for key in keys))
    return [quota and quota.left for quota in quotas]


async def until_shared(shared: SharedLimits) -> None:
    async with asyncio.timeout(60):
        while not shared.is_available:  # noqa: ASYNC110 - metrics poll it, too
            await asyncio.sleep(0)


async def test_hits_that_wait_are_sent_together(windows: FakeWindows, shared: SharedLimits) -> None:
    windows.gate.clear()
    first = [hit(shared, key) for key in ("ada", "bob", "ada")]
    await asyncio.sleep(0.01)
    second = [hit(shared, key) for key in ("ada", "eve")]
    await asyncio.sleep(0.01)
    assert len(windows.batches) == 1
    windows.gate.set()
    quotas = await asyncio.gather(*first, *second)
    assert [quota and quota.left for quota in quotas] == [999, 999, 998, 997, 999]
    assert windows.batches == [
        [f"caller: digest of {key}" for key in ("ada", "bob", "ada")],
        [f"caller: digest of {key}" for key in ("ada", "eve")],
    ]


async def test_commands_have_a_maximum_of_hits(windows: FakeWindows, shared: SharedLimits) -> None:
    await left(shared, *("ada",) * (2 * MAX_BATCH + 1))
    assert [len(batch) for batch in windows.batches] == [MAX_BATCH, MAX_BATCH, 1]


async def test_failure_is_answered_locally_and_the_storage_is_not_asked_again(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    windows.error = ConnectionRefusedError(111, "secret")
    with capture_logs() as logs:
        assert await left(shared, "ada", "bob") == [None, None]
        assert await left(shared, "ada") == [None]
    assert logs == [LOCAL | {"cause": "ConnectionRefusedError ECONNREFUSED"}]
    assert len(windows.batches) == 1
    assert (shared.is_available, shared.failures, shared.local_hits) == (False, 1, 3)


async def test_hits_behind_a_command_without_answer_do_not_wait_for_their_own(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    first = await unanswered(windows, shared)
    second = hit(shared, "bob")
    with capture_logs() as logs:
        for _ in range(2):
            pass_time(30)
            await asyncio.sleep(0.01)
        assert [await first, await second] == [None, None]
    assert logs == [LOCAL | {"cause": "TimeoutError"}]
    assert len(windows.batches) == 1


async def test_answer_that_arrives_while_the_process_is_busy_counts(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    asked = await unanswered(windows, shared)
    pass_time(3600)
    await asyncio.sleep(0.01)
    windows.gate.set()
    quota = await asked
    assert quota is not None
    assert shared.is_available


async def test_storage_that_comes_back_is_used_again(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    windows.error = OSError()
    await left(shared, "ada")
    with capture_logs() as logs:
        for _ in range(2):
            pass_time(3600)
            await asyncio.sleep(0.01)
            assert not shared.is_available
        windows.error = None
        pass_time(3600)
        await until_shared(shared)
        assert await left(shared, "ada") == [999]
        windows.error = OSError()
        assert await left(shared, "ada") == [None]
    assert logs == [SHARED, LOCAL | {"cause": "OSError"}]
    assert (shared.failures, windows.disconnected > 0) == (2, True)


async def test_storage_without_an_answer_in_time_is_not_used_again(windows: FakeWindows) -> None:
    windows.gate.clear()
    shared = SharedLimits(windows, Timing(answer=60, connect=60, retry=0))
    starting = asyncio.create_task(shared.start(plain_digest))
    for _ in range(2):
        await asyncio.sleep(0.01)
        pass_time(60)
    await starting
    assert (shared.is_available, shared.failures) == (False, 1)
    windows.gate.set()
    await until_shared(shared)
    await shared.close()


async def test_digests_that_cannot_be_loaded_are_loaded_later(windows: FakeWindows) -> None:
    loaded: list[float] = []

    async def load() -> Digest:
        loaded.append(time.monotonic())
        if len(loaded) == 1:
            raise OSError
        return await plain_digest()

    shared = SharedLimits(windows, Timing(answer=60, retry=0))
    await shared.start(load)
    assert await left(shared, "ada") == [None]
    await until_shared(shared)
    assert await left(shared, "ada") == [999]
    assert len(loaded) == 2
    await shared.close()


async def test_cancelled_request_does_not_disturb_others(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    windows.gate.clear()
    asked = [hit(shared, key) for key in ("ada", "bob")]
    await asyncio.sleep(0.01)
    asked[0].cancel()
    await asyncio.sleep(0.01)
    windows.gate.set()
    assert await asked[1] == Quota(admitted=True, left=999, reset=0)
    assert shared.is_available


async def test_closing_answers_waiting_requests_and_ends_its_tasks(
    windows: FakeWindows, shared: SharedLimits
) -> None:
    asked = await unanswered(windows, shared)
    waiting = hit(shared, "bob")
    await asyncio.sleep(0)
    await shared.close()
    assert [await asked, await waiting] == [None, None]
    assert asyncio.all_tasks() == {asyncio.current_task()}
