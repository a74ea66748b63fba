"""Sizes and intervals of the change feed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Times are in seconds. An operator has no reason to change these; tests do, to be fast."""

    page_size: int = 500  # events of one read
    buffer_size: int = 1_000  # events
    # Between two polls without a wake-up. None is 0.1 on SQLite, which has no notifications, and 1
    # on PostgreSQL.
    poll: float | None = None
    retry: float = 0.5  # after a database error
    # The timeout of unfiltered reads. They use the primary key and take milliseconds, so a slow one
    # has lost its connection. All subscribers wait for them. Filtered reads can take longer.
    read: float = 3.0
    # The delay after which transactions that hold back the feed are logged. Roster's own are
    # shorter.
    log_delay: float = 3.0


DEFAULT = FeedOptions()
