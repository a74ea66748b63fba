"""The wall clock. Durations are measured with `time.monotonic`."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
