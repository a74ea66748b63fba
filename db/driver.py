"""Statements that PostgreSQL's driver runs itself, on a connection of SQLAlchemy's pool.

Beside one short statement, SQLAlchemy's session, transaction and result cost several times what
the statement does. So it is turned into the driver's text once, and then needs a list of values.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import ClauseElement, Dialect, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

if TYPE_CHECKING:
    from db.pool import FairPool

# After these the statement may still be running.
_UNANSWERED: Final = (TimeoutError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as the driver takes it: its text, and how each value is found and turned."""

    text: str
    order: Sequence[tuple[str, Callable[[Any], Any] | None]]

    @classmethod
    def of(cls, statement: ClauseElement, dialect: Dialect) -> "Prepared":
        compiled = cast("Any", statement.compile(dialect=dialect))
        types = ((name, compiled.binds[name].type) for name in compiled.positiontup)
        order = [(n, t.dialect_impl(dialect).bind_processor(dialect)) for n, t in types]
        return cls(str(compiled), order)

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        return [bind(given[name]) if bind else given[name] for name, bind in self.order]


async def fetch(engine: AsyncEngine, prepared: Prepared, given: Mapping[str, Any]) -> list[Any]:
    """Run one statement in a transaction of its own, which is over when its rows are given.

    Raises what a session would, so that errors are told apart in one way. A connection on which
    somebody gave up waiting is thrown away, and the server told to stop, as a session does.
    """
    values = prepared.values(given)
    pool = cast("FairPool", engine.sync_engine.pool)
    lent = await pool.borrow()
    driver: Any = lent.driver_connection
    try:
        _tell(engine, prepared.text, values)
        rows: list[Any] = await driver.fetch(prepared.text, *values)
    except BaseException as error:
        told = _told(error, lent, engine, prepared.text)
        if driver.is_closed() or isinstance(error, _UNANSWERED):
            await greenlet_spawn(lent.invalidate, error)
        else:
            lent.close()
        if told is error:
            raise
        raise told from error
    pool.give_back(lent)
    return rows


def _tell(engine: AsyncEngine, text: str, values: Sequence[Any]) -> None:
    """Let those hear of a statement who hear of all that the engine runs."""
    for heard in engine.sync_engine.dispatch.before_cursor_execute:
        heard(engine.sync_engine, None, text, values, None, False)  # noqa: FBT003 - its signature


def _told(
    error: BaseException, lent: PoolProxiedConnection, engine: AsyncEngine, text: str
) -> BaseException:
    """Give what SQLAlchemy makes of a driver's error; what isn't one stays as it is."""
    dialect: Any = engine.dialect
    adapted: Any = lent.dbapi_connection
    try:
        if isinstance(error, Exception):
            adapted._handle_exception(error)  # noqa: SLF001 - SQLAlchemy has no other way to it
    except dialect.dbapi.Error as orig:
        orig.__cause__ = error
        return DBAPIError.instance(
            text,
            None,
            cast("Exception", orig),
            dialect.dbapi.Error,
            hide_parameters=True,
            connection_invalidated=adapted.driver_connection.is_closed(),
            dialect=dialect,
        )
    except Exception as other:  # noqa: BLE001 - it is given back to be raised
        return other
    return error
