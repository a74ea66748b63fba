"""Durations on their way into the histograms.

prometheus-client needs several times as long to add a duration as Roster to note it, above all if
it writes into files. So durations are added together, some milliseconds after the first one.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.registry import Collector

from graph.metrics.prometheus_adapter import observe_all

# What a server process may lose if it is killed, and how old the metrics of a worker may be.
_SECONDS: Final = 0.005


class Series:
    """Durations in seconds with the same labels."""

    __slots__ = ("histogram", "values")

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self.values: list[float] = []


class Timings(Collector):
    """Registered before the histograms, so that a scrape of this process finds all durations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series: list[Series] = []
        self._are_due = False
        self._adding = Lock()  # the management port collects in a thread of its own
        registry.register(self)

    def series(self, histogram: Histogram, *labels: str) -> Series:
        made = Series(histogram.labels(*labels))
        self._series.append(made)
        return made

    def note(self, series: Series, seconds: float) -> None:
        """Note a duration. In a thread without an event loop, it waits for the next sample."""
        series.values.append(seconds)
        if not self._are_due:
            # A stream whose client has left is deleted in any thread.
            with suppress(RuntimeError):
                asyncio.get_running_loop().call_later(_SECONDS, self.add)
                self._are_due = True

    def add(self) -> None:
        """Add what was noted to the histograms."""
        with self._adding:
            self._are_due = False
            for series in self._series.copy():
                if values := series.values.copy():
                    del series.values[: len(values)]  # the event loop may have added more
                    observe_all(series.histogram, values)

    def collect(self) -> Iterable[Metric]:
        self.add()
        return ()
