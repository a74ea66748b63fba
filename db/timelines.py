"""Recognises former primaries. PostgreSQL begins a new timeline at each promotion.

A primary that was frozen or cut off while a standby was promoted can come back, and take writes
until its manager stops it. These writes are lost. So a process remembers the newest timeline of
each cluster, and uses no primary of an older one.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("roster")

# A standby has no timeline of its own. The function raises an error there, and is not called.
_SELECT: Final = """
SELECT system_identifier, CASE WHEN pg_is_in_recovery() THEN 0
  ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END
FROM pg_control_system()"""


class FormerPrimaryError(ConnectionError):
    """The server is a primary, but another one was promoted after it."""


class Timeline(NamedTuple):
    cluster: int  # of all copies of one database
    number: int  # 0 is that of a standby


class Timelines:
    """The newest timeline of each cluster that a process has seen.

    `on_promotion` is called when a newer one is seen.
    """

    def __init__(self) -> None:
        self.promotions = 0
        self.on_promotion: Callable[[], None] | None = None
        self._newest: dict[int, int] = {}

    async def check(self, connection: asyncpg.Connection) -> Timeline | None:
        """Return the timeline of a new connection, or None if the server does not tell it.

        Raises FormerPrimaryError.
        """
        found = None
        with suppress(asyncpg.PostgresError):  # a server that only resembles PostgreSQL
            found = await connection.fetchrow(_SELECT)
        if found is None:
            return None
        timeline = Timeline(*found)
        if self.is_former(timeline):
            raise FormerPrimaryError("the server is a former primary: another one was promoted")
        newest = self._newest.get(timeline.cluster)
        if timeline.number:
            self._newest[timeline.cluster] = timeline.number
        if newest and timeline.number > newest:
            log.warning("another server was promoted", timeline=timeline.number)
            self.promotions += 1
            if self.on_promotion:
                self.on_promotion()
        return timeline

    def is_former(self, timeline: Timeline | None) -> bool:
        """Return whether the timeline is that of a primary before the newest one."""
        if timeline is None or not timeline.number:
            return False
        return timeline.number < self._newest.get(timeline.cluster, 0)

    def is_of_former(self, connection: Any) -> bool:
        return self.is_former(connection.timeline)
