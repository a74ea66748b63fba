"""Statements that the driver runs itself, on a connection of SQLAlchemy's pool.

Beside one short statement, SQLAlchemy's session, transaction and result cost several times what
the statement does. So it is turned into the driver's text once, and then needs a list of values.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from db.outcome import Write
from db.prepared import PreparedStatement

if TYPE_CHECKING:
    from db.pool import FairPool

# After these the statement may still be running.
_UNANSWERED: Final = (TimeoutError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)


async def fetch(
    engine: AsyncEngine,
    query: PreparedStatement,
    given: Mapping[str, Any],
    write: Write | None = None,
) -> list[Any]:
    """Run one statement in a transaction of its own, on PostgreSQL, and give its rows."""
    compiled = query.on(engine.dialect)
    values = compiled.arguments(given)
    return await run(engine, [compiled.text], lambda on: on.fetch(compiled.text, *values), write)


async def insert_both(
    engine: AsyncEngine,
    first: PreparedStatement,
    second: PreparedStatement,
    given: Mapping[str, Any],
    *,
    key: str,
    write: Write | None = None,
) -> list[Any]:
    """Insert two rows in one transaction, on SQLite; where the first gives no row, neither.

    What the first gives, the second has as `key`. All of it is one call of the connection's thread:
    a statement for itself costs several times as much to hand over as to run.
    """
    user, event = first.on(engine.dialect), second.on(engine.dialect)
    values = user.arguments(given)

    def insert(connection: sqlite3.Connection) -> list[Any]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = connection.execute(user.text, values).fetchall()
            for row in rows:
                connection.execute(event.text, event.arguments({**given, key: row[0]}))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return rows

    return await run(engine, [user.text, event.text], lambda on: on.run(insert), write)


async def run(
    engine: AsyncEngine,
    texts: Sequence[str],
    ask: Callable[[Any], Awaitable[list[Any]]],
    write: Write | None = None,
) -> list[Any]:
    """Have a borrowed connection run what is over when it has answered.

    Raises what a session would, so that errors are told apart in one way. A connection on which
    somebody gave up waiting is thrown away, and the database told to stop, as a session does.
    """
    pool = cast("FairPool", engine.sync_engine.pool)
    lent = await pool.acquire()
    try:
        announce(engine.sync_engine, lent, *texts)
        with write.committing() if write else nullcontext():
            rows = await ask(lent.driver_connection)
    except BaseException as error:
        closed = pool.is_closed(lent.driver_connection) or pool.sort_out(error)
        told = _told(error, lent, engine, texts[0], closed=closed)
        if closed or isinstance(error, _UNANSWERED):
            await greenlet_spawn(lent.invalidate, error)
        else:
            lent.close()
        if told is error:
            raise
        raise told from error
    pool.release(lent)
    return rows


def announce(engine: Engine, lent: PoolProxiedConnection, *texts: str) -> None:
    """Let those hear of statements, less their values, who hear of all that the engine runs."""
    if not engine.dispatch.before_cursor_execute:
        return
    told = Connection(engine, lent)
    for text in texts:
        engine.dispatch.before_cursor_execute(told, None, text, (), None, False)  # noqa: FBT003 - SQLAlchemy's own order


def _told(
    error: BaseException,
    lent: PoolProxiedConnection,
    engine: AsyncEngine,
    text: str,
    *,
    closed: bool,
) -> BaseException:
    """Give what SQLAlchemy makes of a driver's error; what isn't one stays as it is."""
    dialect: Any = engine.dialect
    adapted: Any = lent.dbapi_connection
    try:
        if isinstance(error, Exception):
            adapted._handle_exception(error)  # noqa: SLF001 - SQLAlchemy has no other way to it
    except dialect.dbapi.Error as orig:
        if orig is not error:
            orig.__cause__ = error
        return DBAPIError.instance(
            text,
            None,
            cast("Exception", orig),
            dialect.dbapi.Error,
            hide_parameters=True,
            connection_invalidated=closed,
            dialect=dialect,
        )
    except Exception as other:  # noqa: BLE001 - it is given back to be raised
        return other
    return error
