"""Durations reach their histograms together, and each one does."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, values

from graph.metrics.prometheus_adapter import observe_all
from graph.metrics.timings import Timings
from tests.support.loop_time import pass_time

BOUNDS = (0.125, 0.5, 1.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def timings(registry: CollectorRegistry) -> Timings:
    return Timings(registry)


def histogram(registry: CollectorRegistry | None = None) -> Histogram:
    return Histogram("seconds", "Durations.", ["kind"], registry=registry, buckets=BOUNDS)


def number(of: Histogram) -> float:
    """Returns the number of durations that have reached a histogram, without a scrape."""
    samples = [sample for metric in of.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == "seconds_count")


def in_memory(_: Path, __: pytest.MonkeyPatch) -> None:
    pass


def in_files(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    patch.setattr(values, "ValueClass", values.MultiProcessValue())


@pytest.mark.parametrize("kept", [in_memory, in_files])
def test_values_are_added_as_by_observe(
    kept: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept(tmp_path, monkeypatch)
    given = [0, *BOUNDS, 0.25, 0.25, 8, 2**20]  # without a rounded sum
    durations = histogram()
    for value in given:
        durations.labels("each").observe(value)
    observe_all(durations.labels("all"), given)
    found: dict[str, dict[tuple[str, str], float]] = {"each": {}, "all": {}}
    for sample in next(iter(durations.collect())).samples:
        labels = dict(sample.labels)
        found[labels.pop("kind")][sample.name, labels.get("le", "")] = sample.value
    assert found["all"] == found["each"]
    assert found["all"]["seconds_count", ""] == len(given)


async def test_scrape_finds_each_duration(registry: CollectorRegistry, timings: Timings) -> None:
    durations = histogram(registry)
    noted = timings.of(durations)
    for found in (1, 2):
        for kind in "ab":
            noted.note((kind,), 0.25)
        assert registry.get_sample_value("seconds_count", {"kind": "a"}) == found
        assert registry.get_sample_value("seconds_sum", {"kind": "b"}) == found / 4


async def test_durations_are_added_without_a_scrape(timings: Timings) -> None:
    durations = histogram()
    noted = timings.of(durations)
    for found in (2, 4):
        noted.note(("a",), 0.25)
        noted.note(("a",), 0.25)
        assert number(durations) == found - 2
        pass_time(1)
        await asyncio.sleep(0)  # a moment in which the loop looks at its timers
        await asyncio.sleep(0)
        assert number(durations) == found


async def test_durations_noted_during_scrapes_are_added_once(timings: Timings) -> None:
    durations = histogram()
    noted = timings.of(durations)
    is_done = threading.Event()

    def scrape() -> None:
        while not is_done.is_set():
            timings.add()

    scrapes = asyncio.create_task(asyncio.to_thread(scrape))
    for _ in range(20_000):
        noted.note(("a",), 0.25)
    is_done.set()
    await scrapes
    timings.add()
    assert number(durations) == 20_000


def test_duration_of_a_stream_that_another_thread_deletes_is_added_later(
    timings: Timings, registry: CollectorRegistry
) -> None:
    waited = histogram(registry)
    timings.of(waited).note(("a",), 0.1)  # without an event loop
    timings.collect()
    assert number(waited) == 1
