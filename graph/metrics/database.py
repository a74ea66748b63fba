"""Metrics of a database: its statements and waits for its connections."""

import asyncio
import time
from typing import Final

from db.error_summary import type_of
from db.observation import End, Server, operation_of
from graph.metrics.instruments import Instruments
from graph.metrics.labels import Bounded

_MOST_ERRORS: Final = 100


class DatabaseMetrics:
    def __init__(self, instruments: Instruments, server: Server) -> None:
        self._durations = instruments.timings.of(instruments.statement_duration)
        self._retries = instruments.retries.labels("read")
        self._waits = instruments.timings.of(instruments.connection_wait)
        instruments.connection_wait.labels(server.pool)  # published before the first wait, too
        self._timeouts = instruments.connection_timeouts.labels(server.pool)
        self._server = server
        self._errors = Bounded(_MOST_ERRORS)

    def begin_statement(self, text: str) -> End:
        begun = time.perf_counter()
        server = self._server

        def end(error: BaseException | None) -> None:
            failure = "" if error is None else self._errors.of(type_of(error))
            labels = (server.system, operation_of(text), server.pool, failure)
            self._durations.note(labels, time.perf_counter() - begun)

        return end

    def begin_wait(self) -> End:
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            self._waits.note((self._server.pool,), time.perf_counter() - begun)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self._timeouts.inc()

        return end

    def note_retry(self, _: Exception) -> None:
        self._retries.inc()
