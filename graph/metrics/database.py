"""Metrics of a database: its statements and waits for its connections."""

import asyncio
import time
from typing import Any, Final

from db.error_summary import type_of
from db.observation import End, Server, operation_of
from graph.metrics.instruments import Instruments
from graph.metrics.labels import Bounded

_MOST_ERRORS: Final = 100


class DatabaseMetrics:
    def __init__(self, instruments: Instruments, server: Server) -> None:
        self._duration = instruments.statement_duration
        self._retries = instruments.retries.labels("read")
        self._wait = instruments.connection_wait.labels(server.pool)
        self._timeouts = instruments.connection_timeouts.labels(server.pool)
        self._server = server
        self._errors = Bounded(_MOST_ERRORS)
        self._children: dict[tuple[str, str], Any] = {}

    def begin_statement(self, text: str) -> End:
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            key = (operation_of(text), "" if error is None else self._errors.of(type_of(error)))
            child = self._children.get(key)
            if child is None:
                child = self._children[key] = self._child(*key)
            child.observe(time.perf_counter() - begun)

        return end

    def _child(self, operation: str, error: str) -> Any:
        server = self._server
        return self._duration.labels(server.system, operation, server.pool, error)

    def begin_wait(self) -> End:
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            self._wait.observe(time.perf_counter() - begun)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self._timeouts.inc()

        return end

    def note_retry(self, _: Exception) -> None:
        self._retries.inc()
