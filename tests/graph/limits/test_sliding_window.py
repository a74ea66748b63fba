"""The sliding window, compared with that of `limits`."""

from random import Random
from types import SimpleNamespace

import pytest
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from graph.limits.sliding_window import SlidingWindow
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(960_000.0)  # the start of a minute


@pytest.mark.parametrize("rate", ["1/second", "5/minute", "7/2 minutes", "100/hour", "0/minute"])
@pytest.mark.parametrize("seed", range(5))
async def test_sliding_window_counts_like_the_limits_library(
    rate: str, seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("storage.memory", "strategies"):
        monkeypatch.setattr(f"limits.aio.{module}.time", SimpleNamespace(time=clock))
    item = parse(rate)
    seconds = item.get_expiry()
    theirs = SlidingWindowCounterRateLimiter(MemoryStorage())
    ours = SlidingWindow(item.amount, seconds, clock)
    rng = Random(seed)  # noqa: S311 - the same hits on every run
    rejections = 0
    for _ in range(400):
        clock.time += (
            rng.choice([0, 0, 0, 0, 0, 0, 0.01, 0.1, 0.5, 2.5]) * seconds / max(item.amount, 1)
        )
        key = rng.choice(["ada", "bob"])
        assert ours.has_room(key) is await theirs.test(item, key)
        use = ours.hit(key)
        assert use.admitted is await theirs.hit(item, key)
        reset, left = await theirs.get_window_stats(item, key)
        assert use.left == left
        assert use.reset == pytest.approx(reset - clock.time, abs=1e-6)
        rejections += not use.admitted
    assert rejections > 0


def count_entries(window: SlidingWindow) -> int:
    return len(window._before) + len(window._counts)  # noqa: SLF001 - its memory use


def test_sliding_window_drops_keys_that_no_longer_count(clock: Clock) -> None:
    window = SlidingWindow(2, 60, clock)
    for key in ("ada", "bob"):
        window.hit(key)
    assert count_entries(window) == 2
    clock.time += 60
    assert [window.hit(key).left for key in ("bob", "cleo", "cleo")] == [0, 1, 0]
    assert count_entries(window) == 4  # two of them are bob's
    clock.time += 60
    assert window.has_room("bob")
    assert count_entries(window) == 2
    clock.time += 60
    assert window.has_room("bob")
    assert count_entries(window) == 0
    window.hit("bob")
    clock.time += 121
    assert window.has_room("bob")
    assert count_entries(window) == 0
