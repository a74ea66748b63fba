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
_SECONDS: Final = 0.02


class _Series:
    """Durations in seconds with the same labels."""

    __slots__ = ("histogram", "values")

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self.values: list[float] = []


class Durations:
    """The durations of one histogram, by the values of its labels."""

    def __init__(self, timings: "Timings", histogram: Histogram) -> None:
        self._timings = timings
        self._histogram = histogram
        self._series: dict[tuple[str, ...], _Series] = {}

    def note(self, labels: tuple[str, ...], seconds: float) -> None:
        """Note a duration. In a thread without an event loop, it waits for the next sample."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(self._histogram.labels(*labels))
        series.values.append(seconds)
        if not self._timings.are_due:
            self._timings.schedule()

    def add(self) -> None:
        """Add what was noted to the histogram. Not for several threads at once."""
        for series in list(self._series.values()):
            if values := series.values.copy():
                del series.values[: len(values)]  # the event loop may have added more
                observe_all(series.histogram, values)


class Timings(Collector):
    """Registered before the histograms, so that a scrape of this process finds all durations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._all: list[Durations] = []
        self.are_due = False
        self._adding = Lock()  # the management port collects in a thread of its own
        registry.register(self)

    def of(self, histogram: Histogram) -> Durations:
        made = Durations(self, histogram)
        self._all.append(made)
        return made

    def schedule(self) -> None:
        # A stream whose client has left is deleted in any thread.
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_later(_SECONDS, self.add)
            self.are_due = True

    def add(self) -> None:
        """Add what was noted to the histograms."""
        with self._adding:
            self.are_due = False
            for durations in self._all.copy():
                durations.add()

    def collect(self) -> Iterable[Metric]:
        self.add()
        return ()
