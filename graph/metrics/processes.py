"""`process_*`: CPU, memory and files of the main process and of each worker.

prometheus-client has these metrics for one process only, and none with several workers.
"""

import os
from collections.abc import Callable, Collection, Iterator

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Workers = Callable[[], Collection[int]]
_Family = CounterMetricFamily | GaugeMetricFamily


class ProcessesCollector(Collector):
    """`workers` returns the ids of the workers. The successor of one has its place."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        families: dict[str, _Family] = {}
        for name, pid in _named(self._workers()):
            for metric in _collector_of(pid).collect():
                family = families.setdefault(metric.name, _family_like(metric))
                for sample in metric.samples:
                    family.add_metric([name], sample.value)
        yield from families.values()


def _collector_of(pid: int) -> ProcessCollector:
    return ProcessCollector(pid=lambda: pid, registry=None)


def _family_like(metric: Metric) -> _Family:
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.documentation, labels=["process"])


def _named(workers: Collection[int]) -> Iterator[tuple[str, int]]:
    yield "main", os.getpid()
    for number, pid in enumerate(workers, 1):
        yield f"worker-{number}", pid
