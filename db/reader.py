"""Reads at next to the cost of the bare driver: autocommit, prepared texts, light rows.

A read takes a connection of the engine's pool and lets the driver run the text. Where the pool has
one that is open, no greenlet is begun for that: it costs more than the rest of the way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Executable, PoolProxiedConnection, Select, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from db.batched_lookup import KeyLookup
from db.driver import announce
from db.errors import is_passing, spoils_connection
from db.prepared import Compiled, PreparedStatement
from db.time_slices import pause_if_due

if TYPE_CHECKING:
    from db.pool import FairPool

Fetch = Callable[[Any, str, Sequence[Any]], Awaitable[Sequence[Any]]]
_NOTHING: Final[Mapping[str, Any]] = {}


_ROWS: Final = 200  # that are converted without a pause


class _Cut(ConnectionResetError):
    """The connection was closed by the other side, before a statement or in the middle of it."""


class Reader:
    """Runs reads on one engine; `fetch` is the driver's way, `autocommit` the options for it."""

    def __init__(self, engine: AsyncEngine, fetch: Fetch, autocommit: Mapping[str, Any]) -> None:
        self._engine = engine.sync_engine
        self._autocommit = self._engine.execution_options(**autocommit)
        self.fetch = fetch
        self._lookups: dict[Select[Any], KeyLookup] = {}
        event.listen(self._engine, "checkout", self._pass_over_closed)

    async def rows(
        self,
        query: PreparedStatement,
        given: Mapping[str, Any] = _NOTHING,
        *,
        seconds: float | None = None,
    ) -> list[Any]:
        """Run a prepared statement; once more where that helps, as if its connection is cut.

        With `seconds`, raises TimeoutError for an answer that takes longer. The wait for a
        connection has its own limit.
        """
        try:
            return await self._rows(query, given, seconds)
        except Exception as error:
            if not can_be_read_again(error):
                raise
        return await self._rows(query, given, seconds)

    async def select(self, statement: Executable, given: Mapping[str, Any] = _NOTHING) -> Any:
        """Run a statement that was made for this once."""

        def run() -> Any:
            with self._autocommit.connect() as connection:
                return connection.execute(statement, given).all()

        try:
            return await greenlet_spawn(run)
        except Exception as error:
            if not can_be_read_again(error):
                raise
        return await greenlet_spawn(run)

    def lookup(self, statement: Select[Any]) -> KeyLookup:
        """Give the one look-up of the process that merges all keys of a statement."""
        lookup = self._lookups.get(statement)
        if lookup is None:
            query = PreparedStatement(statement)
            lookup = self._lookups[statement] = KeyLookup(
                lambda keys: self.rows(query, {"keys": keys})
            )
        return lookup

    async def end_unwanted(self) -> None:
        """End the look-ups that nobody waits for any more."""
        for lookup in list(self._lookups.values()):  # others may come meanwhile
            await lookup.end_unwanted()

    async def close(self) -> None:
        for lookup in self._lookups.values():
            await lookup.close()

    async def _rows(
        self, query: PreparedStatement, given: Mapping[str, Any], seconds: float | None
    ) -> list[Any]:
        pool = cast("FairPool", self._engine.pool)  # another one after the engine was disposed of
        connection = await pool.acquire()
        try:
            compiled = query.on(self._engine.dialect)
            announce(self._engine, connection, compiled.text)
            arguments = compiled.arguments(given)
            fetching = self.fetch(connection.driver_connection, compiled.text, arguments)
            found = await (fetching if seconds is None else _within(seconds, fetching))
        except BaseException as error:
            await self._let_go(pool, connection, error)
            raise
        pool.release(connection)
        if len(found) <= _ROWS:
            return compiled.rows(found)
        return await _in_slices(compiled, found)

    async def _let_go(
        self, pool: "FairPool", connection: PoolProxiedConnection, error: BaseException
    ) -> None:
        """Give a connection back, if it is as it was; raise ConnectionError if it was cut."""
        cut = pool.is_closed(connection.driver_connection)
        if cut and isinstance(error, Exception):
            pool.discard_peers(connection)  # what cut one has likely cut the others
        spoiled = pool.sort_out(error)
        if cut or spoiled or isinstance(error, asyncio.CancelledError | TimeoutError):
            await greenlet_spawn(connection.invalidate, error)
        elif isinstance(error, Exception):
            connection.close()
        else:
            connection.invalidate(error)
        if cut and isinstance(error, Exception):
            raise _Cut("the database cut the connection") from error

    def _pass_over_closed(
        self, connection: Any, _: ConnectionPoolEntry, __: PoolProxiedConnection
    ) -> None:
        if cast("FairPool", self._engine.pool).is_closed(connection.driver_connection):
            raise DisconnectionError


def can_be_read_again(error: Exception) -> bool:
    """Return whether a read may well succeed on another connection, or as soon as now."""
    is_cut = isinstance(error, _Cut) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
    return is_cut or is_passing(error) or spoils_connection(error)


async def _within(seconds: float, answer: Awaitable[Sequence[Any]]) -> Sequence[Any]:
    async with asyncio.timeout(seconds):
        return await answer


async def _in_slices(compiled: Compiled, found: Sequence[Any]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(found), _ROWS):
        await pause_if_due()
        rows += compiled.rows(found[start : start + _ROWS])
    return rows
