"""Checks that SQLAlchemy has the internals that `db.sqlalchemy_adapter` uses."""

import inspect
from typing import Any

import pytest
from sqlalchemy import AsyncAdaptedQueuePool, Engine, event
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.pool.base import _ConnectionRecord

from db.engine import Database
from db.pool import FairPool
from db.sqlalchemy_adapter import AsyncAdaptedQueue, Listeners, has_listeners
from tests.conftest import select_one

ENGINE_EVENTS = (
    "before_execute",
    "after_execute",
    "before_cursor_execute",
    "after_cursor_execute",
    "engine_connect",
    "set_connection_execution_options",
    "begin",
    "commit",
    "rollback",
    "do_execute",
    "do_execute_no_params",
    "do_setinputsizes",
    "handle_error",
    "checkout",
    "checkin",
    "reset",
)
SESSION_EVENTS = (
    "do_orm_execute",
    "after_begin",
    "after_transaction_create",
    "after_transaction_end",
    "after_rollback",
    "after_soft_rollback",
    "before_commit",
    "after_commit",
)


def ignore(*_: Any) -> None:
    pass


@pytest.mark.parametrize("name", ENGINE_EVENTS)
async def test_listener_on_an_engine_is_detected(database: Database, name: str) -> None:
    listeners = Listeners(database.engine.sync_engine)
    assert not listeners.exist()
    event.listen(database.engine.sync_engine, name, ignore)
    assert listeners.exist()
    event.remove(database.engine.sync_engine, name, ignore)
    assert not listeners.exist()


@pytest.mark.parametrize("name", ["before_execute", "after_cursor_execute"])
async def test_listener_on_all_engines_is_detected(database: Database, name: str) -> None:
    listeners = Listeners(database.engine.sync_engine)
    event.listen(Engine, name, ignore)
    try:
        assert listeners.exist()
    finally:
        event.remove(Engine, name, ignore)
    assert not listeners.exist()


@pytest.mark.parametrize("name", SESSION_EVENTS)
def test_listener_on_sessions_is_detected(name: str) -> None:
    one, other = SyncSession(), SyncSession()
    assert not has_listeners(one)
    event.listen(one, name, ignore)
    assert (has_listeners(one), has_listeners(other)) == (True, False)
    event.listen(SyncSession, name, ignore)
    try:
        assert has_listeners(other)
    finally:
        event.remove(SyncSession, name, ignore)
    assert not has_listeners(other)


def test_overridden_pool_methods_exist_with_the_same_parameters() -> None:
    for name in ("_do_get", "_do_return_conn", "_dec_overflow", "_invalidate"):
        assert callable(getattr(AsyncAdaptedQueuePool, name))
        ours, theirs = getattr(FairPool, name), getattr(AsyncAdaptedQueuePool, name)
        assert len(inspect.signature(ours).parameters) == len(inspect.signature(theirs).parameters)
    assert AsyncAdaptedQueuePool._queue_class is AsyncAdaptedQueue  # noqa: SLF001 - what is tested
    for name in ("get", "get_nowait", "put_nowait", "qsize", "empty", "full"):
        assert callable(getattr(AsyncAdaptedQueue, name))
    assert "connect" in inspect.signature(_ConnectionRecord).parameters


async def test_adapted_connection_has_an_error_handler(database: Database) -> None:
    await select_one(database)
    async with database.engine.connect() as connection:
        adapted: Any = (await connection.get_raw_connection()).dbapi_connection
        assert callable(adapted._handle_exception)  # noqa: SLF001 - what is tested
