"""Metrics of a database: its statements and waits for its connections."""

import asyncio
import time
from typing import Final

from db.error_summary import type_of
from db.observation import End, Server, operation_of
from graph.metrics.instruments import Instruments
from graph.metrics.labels import Bounded
from graph.metrics.timings import Series

_MOST_ERRORS: Final = 100


class DatabaseMetrics:
    def __init__(self, instruments: Instruments, server: Server) -> None:
        self._timings = instruments.timings
        self._duration = instruments.statement_duration
        self._retries = instruments.retries.labels("read")
        self._wait = instruments.timings.series(instruments.connection_wait, server.pool)
        self._timeouts = instruments.connection_timeouts.labels(server.pool)
        self._server = server
        self._errors = Bounded(_MOST_ERRORS)
        self._series: dict[tuple[str, str], Series] = {}

    def begin_statement(self, text: str) -> End:
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            key = (operation_of(text), "" if error is None else self._errors.of(type_of(error)))
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = self._new_series(*key)
            self._timings.note(series, time.perf_counter() - begun)

        return end

    def _new_series(self, operation: str, error: str) -> Series:
        server = self._server
        return self._timings.series(self._duration, server.system, operation, server.pool, error)

    def begin_wait(self) -> End:
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            self._timings.note(self._wait, time.perf_counter() - begun)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self._timeouts.inc()

        return end

    def note_retry(self, _: Exception) -> None:
        self._retries.inc()
