"""The only module that uses SQLAlchemy's internals: undocumented names that can change.

`tests/db/test_sqlalchemy_adapter.py` fails if a release changes one of them.
"""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.pool.base import _ConnectionRecord

# `await_only` and `greenlet_spawn` connect synchronous code and the event loop. SQLAlchemy calls
# the pool and its listeners from synchronous code, and they need to await.
from sqlalchemy.util import await_only, greenlet_spawn

# The queue of `AsyncAdaptedQueuePool` and its exceptions. `db.pool` replaces it with a fair queue.
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty, Full

__all__ = [
    "AsyncAdaptedQueue",
    "Empty",
    "Full",
    "Listeners",
    "await_only",
    "empty_record",
    "greenlet_spawn",
    "has_listeners",
    "translate_error",
]


class Listeners:
    """Detects listeners of an engine or its pool, besides Roster's own.

    SQLAlchemy's public API can only check for one given function.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._own = self._count()

    def exist(self) -> bool:
        return self._count() != self._own

    def _count(self) -> Sequence[int]:
        # Every event that a statement in autocommit triggers.
        of_engine: Any = self._engine.dispatch
        of_dialect: Any = self._engine.dialect.dispatch
        of_pool: Any = self._engine.pool.dispatch
        return (
            len(of_engine.before_execute),
            len(of_engine.after_execute),
            len(of_engine.before_cursor_execute),
            len(of_engine.after_cursor_execute),
            len(of_engine.engine_connect),
            len(of_engine.set_connection_execution_options),
            len(of_engine.begin),
            len(of_engine.commit),
            len(of_engine.rollback),
            len(of_dialect.do_execute),
            len(of_dialect.do_execute_no_params),
            len(of_dialect.do_setinputsizes),
            len(of_dialect.handle_error),
            len(of_pool.checkout),
            len(of_pool.checkin),
            len(of_pool.reset),
        )


_unused = SyncSession()  # has listeners only if they are registered for all sessions


def has_listeners(session: SyncSession) -> bool:
    # A session without own listeners has no dispatcher yet, and creating one is slow.
    return _is_heard(_unused) or ("dispatch" in vars(session) and _is_heard(session))


def _is_heard(session: SyncSession) -> bool:
    events: Any = session.dispatch
    return bool(
        events.do_orm_execute
        or events.after_begin
        or events.after_transaction_create
        or events.after_transaction_end
        or events.after_rollback
        or events.after_soft_rollback
    )


def empty_record(pool: Pool) -> ConnectionPoolEntry:
    """Return a pool entry without a connection. The next user of the entry connects."""
    return _ConnectionRecord(pool, connect=False)


def translate_error(
    error: Exception, connection: PoolProxiedConnection, engine: Engine, text: str, *, closed: bool
) -> Exception:
    """Return SQLAlchemy's exception for a driver's error. Other errors are returned unchanged.

    If the connection was closed, the returned error always says so.
    """
    translated = _translate(error, connection, engine, text, closed=closed)
    if closed and not isinstance(translated, DBAPIError | TimeoutError):
        return DBAPIError(text, None, error, hide_parameters=True, connection_invalidated=True)
    return translated


def _translate(
    error: Exception, connection: PoolProxiedConnection, engine: Engine, text: str, *, closed: bool
) -> Exception:
    dialect: Any = engine.dialect
    adapted: Any = connection.dbapi_connection
    try:
        adapted._handle_exception(error)  # noqa: SLF001 - SQLAlchemy has no public function for this
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
    except Exception as other:  # noqa: BLE001 - the caller raises it
        return other
    return error
