"""Metrics of GraphQL operations."""

import time
from collections import Counter
from typing import Final

from graph.metrics.instruments import Instruments
from graph.metrics.labels import Bounded
from graph.observation import ObservedOperation

_MOST_NAMES: Final = 2_000  # a manifest can have more operations


class OperationMetrics:
    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._durations = instruments.timings.of(instruments.operation_duration)
        self._names = Bounded(_MOST_NAMES)
        self.active: Counter[str] = Counter()

    def started(self, _: ObservedOperation) -> bool:
        return True

    def identified(self, operation: ObservedOperation) -> None:
        self.active[operation.type or ""] += 1

    def ended(self, operation: ObservedOperation) -> None:
        kind, error = operation.type or "", ""
        if kind:
            self.active[kind] -= 1
        if operation.errors:
            error = self._instruments.codes.of(operation.rejection or next(iter(operation.errors)))
        name = self._names.of(operation.name or "") if operation.is_persisted else ""
        self._durations.note((kind, name, error), time.perf_counter() - operation.begun)
        if operation.errors or operation.retries or operation.replays:
            self._count(operation)

    def _count(self, operation: ObservedOperation) -> None:
        found = self._instruments
        for code, number in operation.errors.items():
            found.count_error(code, number)
        if rejection := operation.rejection:
            found.count_rejection(rejection, operation.transport)
        if operation.retries:
            found.retries.labels("transaction").inc(operation.retries)
        if operation.replays:
            found.replays.inc(operation.replays)
