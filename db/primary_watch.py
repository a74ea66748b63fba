"""Looks for PostgreSQL's primary: whether it answers, and whether another server was promoted."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from db.connector import Connector
from db.notifications import Connect, close
from db.pool import PostgresPool
from db.timelines import Timelines
from db.timing import Timing
from db.watchdog import Watchdog


class Route(NamedTuple):
    """How connections outside of the pool are made."""

    connector: Connector  # leads where the pool leads
    options: Mapping[str, Any]  # the connector's, of the URL
    connect_directly: Connect  # past a pooler, if there is one
    has_pooler: bool


class PrimaryWatch:
    """Ends statements that wait for a silent or a former primary.

    `skip` makes the pool avoid hosts for a moment.
    """

    def __init__(
        self,
        pool: Callable[[], PostgresPool],
        route: Route,
        skip: Callable[[set[Any]], None],
        timelines: Timelines,
        timing: Timing,
    ) -> None:
        self._pool: Final = pool
        self._route: Final = route
        self._skip: Final = skip
        self._timelines: Final = timelines
        self._timing: Final = timing
        timelines.on_promotion = self._leave_former_primary

    async def run(self) -> None:
        watchdog = Watchdog(self._pool, self._knock, self._timing)
        await asyncio.gather(watchdog.run(), self._look_around())

    async def look(self) -> None:
        """Connect where the pool does not lead. A former primary that takes writes is no error."""
        if self._route.has_pooler:
            await self._visit()
        else:
            known = self._pool().hosts()
            await self._route.connector.look_around(known, **self._route.options)

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(self._timing.look_around)
            with suppress(Exception):  # requests report it
                await self.look()

    async def _knock(self) -> None:
        # At the hosts that connections lead to: a new primary answers although a frozen one does
        # not. A pooler answers although the server is silent, and the server although the pooler
        # is.
        route, hosts = self._route, self._pool().hosts()
        doors = [route.connector.knock(hosts, **route.options) if hosts else self._visit()]
        if route.has_pooler:
            doors.append(self._visit())
        found = await asyncio.gather(*doors, return_exceptions=True)
        failures = [door for door in found if isinstance(door, Exception)]
        if any(isinstance(failure, TimeoutError) for failure in failures):
            # A read that is tried again fails, although a pooler would accept its connection.
            self._skip(hosts)
        for failure in sorted(failures, key=lambda failure: not isinstance(failure, TimeoutError)):
            raise failure

    async def _visit(self) -> None:
        await close(await self._route.connect_directly(), self._timing)

    def _leave_former_primary(self) -> None:
        self._pool().leave(self._timelines.is_of_former)
