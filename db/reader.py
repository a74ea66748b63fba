"""Reads that the driver runs itself, on a connection of SQLAlchemy's pool.

SQLAlchemy's session, transaction and result cost several times as much as one short statement. So a
prepared statement is compiled once, and afterwards needs only a list of values. If the pool has an
open connection, no greenlet is started: that would cost more than the rest.

Listeners of the engine or its pool are not called on this path. If there are any besides Roster's
own, statements take SQLAlchemy's normal path.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.batched_lookup import KeyLookup
from db.errors import is_passing, spoils_connection
from db.observation import DatabaseObserver, StatementListeners, both
from db.prepared import Compiled, PreparedStatement
from db.sqlalchemy_adapter import Listeners, greenlet_spawn, translate_error
from db.time_slices import pause_if_due

if TYPE_CHECKING:
    from db.pool import FairPool

_NOTHING: Final[Mapping[str, Any]] = {}
_ROWS: Final = 200  # rows that are converted without a pause
# After these errors the statement may still be running.
_UNANSWERED: Final = (TimeoutError, asyncio.CancelledError)


class DriverFetch(Protocol):
    def __call__(self, driver: Any, text: str, arguments: Sequence[Any], /) -> Awaitable[list[Any]]:
        """Run a statement with the driver's own API."""


class Reader:
    """Runs statements on one engine. `autocommit` are execution options of the engine.

    Raises SQLAlchemy's errors.
    """

    def __init__(
        self, engine: AsyncEngine, fetch: DriverFetch, autocommit: Mapping[str, Any]
    ) -> None:
        self._engine = engine.sync_engine
        self.dialect = self._engine.dialect
        self._autocommit = engine.execution_options(**autocommit)
        self.driver_fetch = fetch
        self._lookups: dict[PreparedStatement, KeyLookup] = {}
        self.listeners = Listeners(self._engine)
        self.observer: DatabaseObserver | None = None

    def observe(self, observer: DatabaseObserver) -> None:
        """Report all statements of the engine, and waits for its connections."""
        cast("FairPool", self._engine.pool).observe(observer)
        self.listeners.add_own(partial(StatementListeners(observer).listen, self._engine))
        self.observer = both(self.observer, observer)

    async def fetch(
        self,
        statement: PreparedStatement,
        values: Mapping[str, Any] = _NOTHING,
        *,
        seconds: float | None = None,
    ) -> list[Any]:
        """Run a read.

        Retries it once if the error allows that, for example if the connection was cut.

        With `seconds`, raises TimeoutError if the answer takes longer. The wait for a connection
        has its own limit.
        """
        try:
            return await self._fetch(statement, values, seconds)
        except Exception as error:
            if not can_be_read_again(error):
                raise
            self.note_retry(error)
        return await self._fetch(statement, values, seconds)

    def note_retry(self, error: Exception) -> None:
        if self.observer:
            self.observer.note_retry(error)

    def lookup(self, statement: PreparedStatement) -> KeyLookup:
        lookup = self._lookups.get(statement)
        if lookup is None:
            lookup = self._lookups[statement] = KeyLookup(
                lambda keys: self.fetch(statement, {"keys": keys})
            )
        return lookup

    async def end_unwanted(self) -> None:
        for lookup in list(self._lookups.values()):  # another lookup may be added during the await
            await lookup.end_unwanted()

    async def close(self) -> None:
        for lookup in self._lookups.values():
            await lookup.close()

    async def run(self, text: str, ask: Callable[[Any], Awaitable[list[Any]]]) -> list[Any]:
        """Run `ask` on a connection. It must leave no transaction open.

        If the caller stops waiting, the connection is closed and the statement is cancelled in the
        database. Errors refer to the statement `text`.
        """
        pool = cast("FairPool", self._engine.pool)  # a new pool, if the engine was disposed of
        connection = await pool.acquire()
        end = self.observer.begin_statement(text) if self.observer else None
        try:
            rows = await ask(connection.driver_connection)
        except BaseException as error:
            if end:
                end(error)
            raised = await self._release_after(error, pool, connection, text)
            if raised is error:
                raise
            raise raised from error
        if end:
            end(None)
        pool.release(connection)
        return rows

    async def _fetch(
        self, statement: PreparedStatement, values: Mapping[str, Any], seconds: float | None
    ) -> list[Any]:
        if self.listeners.exist():
            return await _within(seconds, self._fetch_by_sqlalchemy(statement, values))
        compiled = statement.on(self.dialect)
        arguments = compiled.arguments(values)

        def ask(driver: Any) -> Awaitable[list[Any]]:
            fetching = self.driver_fetch(driver, compiled.text, arguments)
            return fetching if seconds is None else _within(seconds, fetching)

        found = await self.run(compiled.text, ask)
        if len(found) <= _ROWS:
            return compiled.rows(found)
        return await _in_slices(compiled, found)

    async def _fetch_by_sqlalchemy(
        self, statement: PreparedStatement, values: Mapping[str, Any]
    ) -> list[Any]:
        async with self._autocommit.connect() as connection:
            return list((await connection.execute(statement.statement, values)).all())

    async def _release_after(
        self,
        error: BaseException,
        pool: "FairPool",
        connection: PoolProxiedConnection,
        text: str,
    ) -> BaseException:
        """Release the connection, or close it if it is unusable. Returns the error to raise."""
        if not isinstance(error, Exception | asyncio.CancelledError):
            # The loop ends or the coroutine is dropped, so nothing can be awaited.
            connection.invalidate(error)
            return error
        cut = pool.is_closed(connection.driver_connection)
        if cut and isinstance(error, Exception):
            pool.discard_peers(connection)  # the other connections were probably cut too
        closed = pool.sort_out(error) or cut
        raised = error
        if isinstance(error, Exception):
            raised = translate_error(error, connection, self._engine, text, closed=closed)
        if closed or isinstance(error, _UNANSWERED):
            await greenlet_spawn(connection.invalidate, error)
        else:
            connection.close()
        return raised


def can_be_read_again(error: Exception) -> bool:
    """Return whether a read may succeed on another connection, or on the same one in a retry."""
    is_cut = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_cut or is_passing(error) or spoils_connection(error)


async def _within(seconds: float | None, answer: Awaitable[list[Any]]) -> list[Any]:
    async with asyncio.timeout(seconds):
        return await answer


async def _in_slices(compiled: Compiled, found: Sequence[Any]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(found), _ROWS):
        await pause_if_due()
        rows += compiled.rows(found[start : start + _ROWS])
    return rows
