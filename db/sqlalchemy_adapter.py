"""The only module that uses SQLAlchemy's internals: undocumented names that can change.

`tests/db/test_sqlalchemy_adapter.py` fails if a release changes one of them.
"""

from collections.abc import Callable
from operator import add, attrgetter, is_, sub
from typing import TYPE_CHECKING, Any, Final, cast

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

if TYPE_CHECKING:
    from collections.abc import Sized

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


_ENGINE_EVENTS: Final = (
    "before_execute",
    "after_execute",
    "before_cursor_execute",
    "after_cursor_execute",
    "engine_connect",
    "set_connection_execution_options",
    "begin",
    "commit",
    "rollback",
)
_DIALECT_EVENTS: Final = ("do_execute", "do_execute_no_params", "do_setinputsizes", "handle_error")
_POOL_EVENTS: Final = ("checkout", "checkin", "reset")


class Listeners:
    """Detects listeners of an engine or its pool, besides Roster's own.

    Every statement asks for this, and SQLAlchemy's public API can only check for one given
    function. The first listener of an engine replaces its collection, and later ones lengthen it;
    so the collections are compared by identity, and their sequences by length.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watch(self._find())
        self._own = list(map(len, self._collections))

    def exist(self) -> bool:
        found = self._find()
        same = all(map(is_, found, self._collections))
        if same and list(map(len, self._sequences)) == self._lengths:
            return False
        if list(map(len, found)) != self._own:
            return True
        self._watch(found)  # those of a new pool, or of a listener that was removed again
        return False

    def add_own(self, register: Callable[[], None]) -> None:
        """Register further listeners of Roster. Those of others are still detected."""
        before = list(map(len, self._find()))
        register()
        added = map(sub, map(len, self._find()), before)
        self._own = list(map(add, self._own, added))

    def _watch(self, collections: tuple[Any, ...]) -> None:
        self._collections = collections
        self._sequences: list[Sized] = []
        for collection in collections:
            # The listeners of a class, and those of the engine itself, if it ever had any.
            self._sequences.append(collection.parent_listeners)
            self._sequences.append(getattr(collection, "listeners", ()))
        self._lengths = list(map(len, self._sequences))

    def _find(self) -> tuple[Any, ...]:
        """Return the collections of every event that a statement in autocommit triggers."""
        engine = self._engine
        of_engine: Any = engine.dispatch
        of_dialect: Any = engine.dialect.dispatch
        of_pool: Any = engine.pool.dispatch
        found: tuple[Any, ...] = (
            *_engine_events(of_engine),
            *_dialect_events(of_dialect),
            *_pool_events(of_pool),
        )
        return found


_engine_events = attrgetter(*_ENGINE_EVENTS)
_dialect_events = attrgetter(*_DIALECT_EVENTS)
_pool_events = attrgetter(*_POOL_EVENTS)
_unused = SyncSession()  # has listeners only if they are registered for all sessions


def has_listeners(session: SyncSession | None) -> bool:
    """Return whether listeners for statements exist for this session or for all sessions."""
    if _is_heard(_unused):
        return True
    # A session without own listeners has no dispatcher yet, and creating one is slow.
    return session is not None and "dispatch" in vars(session) and _is_heard(session)


def _is_heard(session: SyncSession) -> bool:
    events: Any = session.dispatch
    return bool(
        events.do_orm_execute
        or events.after_begin
        or events.after_transaction_create
        or events.after_transaction_end
        or events.before_commit
        or events.after_commit
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
