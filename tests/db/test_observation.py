"""Observers see each statement of both paths once, and do not disable the fast path."""

import asyncio

import pytest
from sqlalchemy import event, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.observation import operation_of
from db.prepared import PreparedStatement
from tests.conftest import opened
from tests.support.observers import Recorder

ONE = PreparedStatement(select(literal_column("1").label("one")))
WRONG = PreparedStatement(select(literal_column("1").label("one")).select_from(text("nowhere")))


@pytest.fixture
def recorder(database: Database) -> Recorder:
    recorder = Recorder()
    database.observe(recorder.database)
    return recorder


async def test_statements_of_both_paths_are_observed_once(
    database: Database, recorder: Recorder
) -> None:
    async with database.session() as session:
        await session.fetch(ONE)
        assert recorder.primary.statements == [("SELECT", None)]
        await session.execute(select(literal_column("2")))
        assert recorder.primary.statements == [("SELECT", None)] * 2
        async with session.transaction():
            await session.execute(text("DELETE FROM users"))
    begin = [("BEGIN", None)] if database.is_sqlite else []
    written = [*begin, ("DELETE", None), ("COMMIT", None)]
    assert recorder.primary.statements[2:] == written
    assert recorder.primary.open == 0
    assert (recorder.primary.server.system, recorder.primary.server.pool) == (
        "sqlite" if database.is_sqlite else "postgresql",
        "primary",
    )


async def test_observer_leaves_the_fast_path_in_use_and_other_listeners_do_not(
    database: Database, recorder: Recorder
) -> None:
    assert not database.reader.listeners.exist()

    def ignore(*_: object) -> None: ...

    event.listen(database.engine.sync_engine, "before_cursor_execute", ignore)
    assert database.reader.listeners.exist()
    async with database.session() as session:
        await session.fetch(ONE)
    assert recorder.primary.statements == [("SELECT", None)]
    event.remove(database.engine.sync_engine, "before_cursor_execute", ignore)
    assert not database.reader.listeners.exist()


async def test_listener_that_was_there_before_the_observer_is_detected(database: Database) -> None:
    def ignore(*_: object) -> None: ...

    event.listen(database.engine.sync_engine, "after_cursor_execute", ignore)
    database.observe(Recorder().database)
    assert database.reader.listeners.exist()
    event.remove(database.engine.sync_engine, "after_cursor_execute", ignore)
    assert not database.reader.listeners.exist()


async def test_failed_statements_of_both_paths_are_observed_with_their_error(
    database: Database, recorder: Recorder
) -> None:
    async with database.session() as session:
        with pytest.raises(DBAPIError):
            await session.fetch(WRONG)
        with pytest.raises(DBAPIError):
            await session.execute(WRONG.statement)
    kinds = [kind for kind, error in recorder.primary.statements]
    assert kinds == ["SELECT", "SELECT"]
    assert all(error for _, error in recorder.primary.statements)
    assert recorder.primary.open == 0


async def test_observers_see_the_same_statements(database: Database, recorder: Recorder) -> None:
    second = Recorder()
    database.observe(second.database)
    async with database.session() as session:
        await session.fetch(ONE)
        await session.execute(select(literal_column("2")))
    assert recorder.primary.statements == second.primary.statements == [("SELECT", None)] * 2
    assert not database.reader.listeners.exist()


@pytest.mark.parametrize("path", ["fetch", "execute"])
async def test_wait_for_a_connection_and_its_timeout_are_observed(
    database_url: str, path: str
) -> None:
    recorder = Recorder()
    async with opened(database_url, pool_size=1, pool_timeout=0.01) as database:
        database.observe(recorder.database)
        async with database.engine.connect(), database.session() as session:
            with pytest.raises(PoolTimeoutError):
                await (session.fetch(ONE) if path == "fetch" else session.execute(ONE.statement))
            assert recorder.primary.waits == ["TimeoutError"]
        await database.session().fetch(ONE)
        assert recorder.primary.waits == ["TimeoutError"]


async def test_wait_that_ends_with_a_connection_is_observed(database_url: str) -> None:
    recorder = Recorder()
    async with opened(database_url, pool_size=1) as database:
        database.observe(recorder.database)
        async with database.engine.connect():
            waiting = asyncio.ensure_future(database.session().fetch(ONE))
            async with asyncio.timeout(60):
                while not recorder.primary.open:  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0)
        await waiting
    assert recorder.primary.waits == [None]
    assert recorder.primary.statements == [("SELECT", None)]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1", "SELECT"),
        ("  select 1", "SELECT"),
        ("(SELECT 1) UNION SELECT 2", "SELECT"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "SELECT"),
        ("WITH a AS (INSERT INTO users VALUES (1) RETURNING id) SELECT id FROM a", "INSERT"),
        ("", ""),
    ],
)
def test_kind_of_a_statement_is_recognised(statement: str, kind: str) -> None:
    assert operation_of(statement) == kind


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_each_replica_has_an_observer(database_url: str) -> None:
    recorder = Recorder()
    async with opened(database_url, read_url=database_url) as database:
        database.observe(recorder.database)
        assert database.replicas
        [replica] = database.replicas.replicas
        assert set(recorder.databases) == {"primary", replica.name}
        assert replica.backend.reader.observer is recorder.databases[replica.name]
        assert database.reader.observer is recorder.primary
