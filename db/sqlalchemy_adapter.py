"""The only module that uses SQLAlchemy's internals: undocumented names, which a release can change.

`tests/db/test_sqlalchemy_adapter.py` fails if one of them does.
"""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.pool.base import _ConnectionRecord

# `await_only` and `greenlet_spawn` lead from synchronous code to the event loop and back. The pool
# and its listeners are called by SQLAlchemy's synchronous part, and have to await.
from sqlalchemy.util import await_only, greenlet_spawn

# The queue of `AsyncAdaptedQueuePool`, and what it raises: ours is fair (`db.pool`).
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
    """Whether somebody listens to an engine or its pool, besides us.

    SQLAlchemy has a public way to ask for one function, and none to ask for any.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._own = self._count()

    def exist(self) -> bool:
        return self._count() != self._own

    def _count(self) -> Sequence[int]:
        """Count the listeners of all that SQLAlchemy calls for a statement in autocommit."""
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


_unused = SyncSession()  # to which nobody listens, unless they listen to every session


def has_listeners(session: SyncSession) -> bool:
    """Return whether somebody listens to what a session, or every session, executes."""
    # A session that nobody has listened to has no dispatcher yet, and making one takes a while.
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
    """Return a place in the pool, for whose connection the next user connects."""
    return _ConnectionRecord(pool, connect=False)


def translate_error(
    error: Exception, connection: PoolProxiedConnection, engine: Engine, text: str, *, closed: bool
) -> Exception:
    """Return what SQLAlchemy makes of a driver's error; another one stays as it is.

    But for one with which the connection ended: SQLAlchemy's says so.
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
    except Exception as other:  # noqa: BLE001 - it is returned to be raised
        return other
    return error
