"""Logs that spans cannot be exported: one line when it begins, and one when it ends.

The exporter would log each attempt, several times a minute, as texts whose values are not logged.
"""

import logging
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from db.error_summary import summarize

log = structlog.get_logger("roster")

_UNKNOWN: Final = "unknown"
_STATUSES: Final = range(100, 600)


class ReportedFailures(SpanExporter):
    """`logger` is the name of the exporter's logger, whose lines are replaced."""

    def __init__(self, exporter: SpanExporter, logger: str) -> None:
        self._exporter = exporter
        self._is_failing = False
        self._cause = _UNKNOWN
        self._logger = logging.getLogger(logger)
        self._logger.addFilter(self._replace)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            log.warning("traces cannot be exported", cause=self._cause)
        elif self._is_failing and not is_failing:
            log.info("traces are exported")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
        self._logger.removeFilter(self._replace)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _replace(self, record: logging.LogRecord) -> bool:
        self._cause = _cause(record) or self._cause
        return False


def _cause(record: logging.LogRecord) -> str | None:
    """Return what is known of the failure: the class of an error, or the collector's status."""
    for value in record.args or ():
        if isinstance(value, BaseException):
            return summarize(value)
        if isinstance(value, int) and value in _STATUSES:
            return f"status {value}"
    return None
