"""The wall clock of the directory. Durations use `time.monotonic`."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
