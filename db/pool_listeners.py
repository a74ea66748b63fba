"""Listeners of an engine that keep dead and outdated connections out of use."""

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError, MissingGreenlet
from sqlalchemy.pool import ConnectionPoolEntry

from db.sqlalchemy_adapter import await_only
from db.timing import Timing

if TYPE_CHECKING:
    from db.pool import FairPool, PostgresPool


def renew(engine: Engine, timing: Timing, *, max_age: float = inf) -> None:
    pool = cast("FairPool", engine.pool)
    pool.max_age, pool.timing = max_age, timing
    event.listen(engine, "do_connect", partial(_note_origin, engine))
    event.listen(engine, "checkout", partial(_pass_over_outdated, engine))
    event.listen(engine, "handle_error", _sort_out)


def _note_origin(engine: Engine, _dialect: object, entry: ConnectionPoolEntry, *_: object) -> None:
    cast("FairPool", engine.pool).note_origin(entry)


def _pass_over_outdated(
    engine: Engine, _connection: object, entry: ConnectionPoolEntry, _: object
) -> None:
    pool = cast("FairPool", engine.pool)
    if pool.is_outdated(entry):
        pool.drop(entry.driver_connection)  # without waiting: the server may be gone
        raise DisconnectionError


def _sort_out(context: ExceptionContext) -> None:
    """Make SQLAlchemy treat an error as a disconnect if it makes the connection unusable."""
    connection = context.connection
    if connection is None or connection.invalidated or context.is_disconnect:
        return
    pool = cast("FairPool", connection.engine.pool)
    if pool.sort_out(context.original_exception):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def watch(engine: Engine, *, pings: bool) -> None:
    """Record when each PostgreSQL connection was used, and test idle ones before use.

    If one is dead, all are replaced. SQLAlchemy's `pool_pre_ping` takes three round trips before
    each use.
    """
    event.listen(engine, "connect", partial(_add, engine))
    event.listen(engine, "checkin", partial(_note_when, engine))
    event.listen(engine, "close", partial(_close_in_time, engine))
    test = _see_if_it_lives if pings else _pass_over_closed
    event.listen(engine, "checkout", partial(test, engine))


def _add(engine: Engine, connection: Any, _: object) -> None:
    cast("PostgresPool", engine.pool).add(connection.driver_connection)


def _note_when(engine: Engine, connection: object | None, entry: ConnectionPoolEntry) -> None:
    # Without a connection, it was closed, possibly because the server did not answer.
    pool = cast("FairPool", engine.pool)
    if connection is not None:
        pool.progress += 1
    pool.note_use(entry)


def _pass_over_closed(
    _engine: Engine, connection: Any, _entry: ConnectionPoolEntry, _: object
) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _see_if_it_lives(
    engine: Engine, connection: Any, entry: ConnectionPoolEntry, _: object
) -> None:
    pool, driver = cast("FairPool", engine.pool), connection.driver_connection
    if driver.is_closed():
        raise InvalidatePoolError
    if "used" not in entry.info or pool.is_warm(entry):
        return  # it was just made or just used
    try:
        await_only(driver.execute("SELECT 1", timeout=pool.timing.ping))
    except MissingGreenlet:
        raise  # it has become idle since `is_ready` looked
    except Exception:  # noqa: BLE001 - any error means that it is dead
        driver.terminate()
        raise InvalidatePoolError from None
    except BaseException:
        driver.terminate()  # closes without waiting: no statement needs to be cancelled
        raise


def _close_in_time(engine: Engine, connection: Any, entry: ConnectionPoolEntry) -> None:
    """Limit the time to close connections when the pool is disposed of.

    SQLAlchemy waits for each connection, without a limit. After the first timeout the others are
    terminated.
    """
    pool, driver = cast("FairPool", engine.pool), connection.driver_connection
    if not pool.is_disposed or driver.is_closed():
        return
    if pool.is_outdated(entry):
        driver.terminate()
        return
    try:
        await_only(driver.close(timeout=pool.timing.close))
    except Exception:  # noqa: BLE001 - asyncpg drops a connection that it cannot close
        pool.discard()
