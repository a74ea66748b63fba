"""The session of an operation: shared by tasks, at most one connection, errors on misuse."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event, literal, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession

from db.engine import Database
from db.models import User
from db.prepared import PreparedStatement
from db.session import Session
from db.statements.users import USERS_BY_ID
from tests.conftest import opened
from tests.db.test_driver import event as event_of
from tests.db.test_driver import row
from tests.db.test_reader import user
from tests.support.client import count

ONE = PreparedStatement(select(literal(1).label("one")))
COUNT = text("SELECT count(*) FROM users")


@pytest.fixture
async def single(database_url: str) -> Any:
    """A database with a pool of one connection. A deadlock exceeds the timeout of its test."""
    async with opened(database_url, pool_size=1, pool_timeout=3600) as database:
        yield database


def checked_out(database: Database) -> int:
    held: int = database.engine.sync_engine.pool.checkedout()  # type: ignore[attr-defined]
    return held


async def add(session: Session, number: int) -> None:
    session.add(user(number))
    await session.flush()


READS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "execute": lambda session: session.execute(text("SELECT 1")),
    "scalar": lambda session: session.scalar(text("SELECT 1")),
    "scalars": lambda session: session.scalars(text("SELECT 1")),
    "get": lambda session: session.get(User, 1),
    "fetch": lambda session: session.fetch(ONE),
    "load": lambda session: session.load(USERS_BY_ID, [1]),
}


@pytest.mark.parametrize("way", READS.values(), ids=READS)
async def test_read_releases_its_connection(single: Database, way: Any) -> None:
    async with single.session() as session:
        assert isinstance(session, AsyncSession)
        for _ in range(3):
            await way(session)
            assert checked_out(single) == 0
        await asyncio.gather(*(way(session) for way in READS.values() for _ in range(10)))
        assert checked_out(single) == 0


async def test_results_stay_readable_after_the_connection_is_released(single: Database) -> None:
    async with single.session() as session:
        async with session.transaction():
            session.add_all([user(1), user(2)])
        found = await session.execute(select(User).order_by(User.id))
        [entities, one] = [found.scalars().all(), await session.get_one(User, 2)]
        values = await session.execute(select(User.id, User.username).order_by(User.id))
        names = await session.scalars(select(User.username).order_by(User.id))
        assert checked_out(single) == 0
        assert [entity.username for entity in entities] == ["user1", "user2"]
        assert (one.username, one.version) == ("user2", 1)
        assert [tuple(each) for each in values] == [(1, "user1"), (2, "user2")]
        assert names.all() == ["user1", "user2"]


async def test_next_read_sees_commits_of_other_sessions(database: Database) -> None:
    """Entities are not cached between reads either."""
    async with database.session() as session, database.session() as other:
        async with other.transaction():
            await add(other, 1)
        before = await session.get_one(User, 1)
        async with other.transaction():
            await other.execute(update(User).values(version=2))
        after = await session.get_one(User, 1)
    assert (before.version, after.version) == (1, 2)


NEED_TRANSACTION: dict[str, Callable[[Session], Any]] = {
    "begin": lambda session: session.begin(),
    "begin_nested": lambda session: session.begin_nested(),
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.rollback(),
    "flush": lambda session: session.flush(),
    "add": lambda session: session.add(user(1)),
    "add_all": lambda session: session.add_all([user(1)]),
    "delete": lambda session: session.delete(user(1)),
    "delete_all": lambda session: session.delete_all([user(1)]),
    "merge": lambda session: session.merge(user(1)),
    "merge_all": lambda session: session.merge_all([user(1)]),
    "refresh": lambda session: session.refresh(user(1)),
    "connection": lambda session: session.connection(),
    "run_sync": lambda session: session.run_sync(lambda sync: sync.execute(COUNT)),
    "stream": lambda session: session.stream(COUNT),
    "stream_scalars": lambda session: session.stream_scalars(COUNT),
    "reset": lambda session: session.reset(),
    "invalidate": lambda session: session.invalidate(),
    "write": lambda session: session.execute(update(User).values(version=2)),
    "write in a select": lambda session: session.execute(
        select(User).from_statement(update(User).values(version=2).returning(User))
    ),
    "write in a CTE": lambda session: session.scalars(
        select(update(User).values(version=2).returning(User.id).cte())
    ),
}
FORBIDDEN_IN_TRANSACTION: dict[str, Callable[[Session], Any]] = {
    name: NEED_TRANSACTION[name]
    for name in ("begin", "commit", "rollback", "stream", "stream_scalars", "reset", "invalidate")
} | {
    "load": lambda session: session.load(USERS_BY_ID, [1]),
    "insert_user": lambda session: session.insert_user(row("bob"), event_of("bob")),
    "transaction": lambda session: session.transaction().__aenter__(),
    "checkpoint": lambda session: session.checkpoint(),
    "close": lambda session: session.close(),
    "aclose": lambda session: session.aclose(),
}


async def await_if_needed(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize("misuse", NEED_TRANSACTION.values(), ids=NEED_TRANSACTION)
async def test_transaction_methods_raise_outside_a_transaction(
    single: Database, misuse: Any
) -> None:
    async with single.session() as session:
        with pytest.raises(InvalidRequestError):
            await await_if_needed(misuse(session))
        assert await session.scalar(COUNT) == 0
        assert checked_out(single) == 0


@pytest.mark.parametrize("misuse", FORBIDDEN_IN_TRANSACTION.values(), ids=FORBIDDEN_IN_TRANSACTION)
async def test_methods_that_leave_the_transaction_raise_inside_it(
    single: Database, misuse: Any
) -> None:
    async with single.session() as session:
        async with session.transaction():
            await add(session, 1)
            with pytest.raises(InvalidRequestError):
                await await_if_needed(misuse(session))
            await add(session, 2)
        assert await session.scalar(COUNT) == 2
    assert checked_out(single) == 0


def test_every_session_method_is_covered_by_these_tests() -> None:
    """A new method of SQLAlchemy's would run without the lock."""
    harmless = {
        "close_all", "expire", "expire_all", "expunge", "expunge_all", "get_async_bind",
        "get_bind", "get_nested_transaction", "get_transaction", "identity_key",
        "in_nested_transaction", "in_transaction", "is_modified", "object_session",
        "bind_mapper", "bind_table",
    }  # fmt: skip
    methods = {
        name
        for name, _ in inspect.getmembers(AsyncSession, callable)
        if not name.startswith("_") and name != "sync_session_class"
    }
    assert (
        methods - harmless - {*READS, *NEED_TRANSACTION, *FORBIDDEN_IN_TRANSACTION, "get_one"}
        == set()
    )


async def test_all_statements_in_a_transaction_share_its_connection(single: Database) -> None:
    async with single.session() as session:
        async with session.transaction():
            await add(session, 1)
            assert await session.scalar(COUNT) == 1
            [found] = await session.fetch(USERS_BY_ID, keys=[1])
            assert found.username == "user1"
            async with session.begin_nested():
                await session.execute(update(User).values(version=2))
            await session.delete(await session.get_one(User, 1))
            await session.merge(user(3))
            connection = await session.connection()
            assert (await connection.execute(COUNT)).scalar_one() == 1
            assert await session.run_sync(lambda sync: len(sync.new)) == 1
        assert await session.scalars(select(User.id)) is not None
        assert (await session.scalars(select(User.id))).all() == [3]


async def test_child_tasks_belong_to_the_transaction_and_others_wait(single: Database) -> None:
    order: list[Any] = []

    async def outside(session: Session) -> None:
        order.append(("outside", await session.scalar(COUNT)))

    async def child(session: Session, number: int) -> None:
        await session.execute(text(f"SELECT {number}"))
        await add(session, number)
        order.append(number)

    async with asyncio.timeout(60), single.session() as session:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def write() -> None:
            async with session.transaction():
                entered.set()
                await leave.wait()
                await asyncio.gather(*(child(session, n) for n in (1, 2, 3)))

        writing = asyncio.create_task(write())
        await entered.wait()
        waiting = asyncio.create_task(outside(session))
        loading = session.load(USERS_BY_ID, [1])
        await asyncio.sleep(0.05)
        assert order == []
        leave.set()
        await asyncio.gather(writing, waiting)
        assert [found.id for found in await loading] == [1]
    assert sorted(order[:3]) == [1, 2, 3]
    assert order[3] == ("outside", 3)


async def test_child_task_that_outlives_the_transaction_is_outside_it(single: Database) -> None:
    async with asyncio.timeout(60), single.session() as session:
        go = asyncio.Event()

        async def late() -> Any:
            await go.wait()
            with pytest.raises(InvalidRequestError):
                session.add(user(9))
            return await session.scalar(COUNT)

        async with session.transaction():
            child = asyncio.create_task(late())
            await add(session, 1)
        async with session.transaction():
            go.set()
            await add(session, 2)
            await asyncio.sleep(0.05)
            assert not child.done()
        assert await child == 2


async def test_child_statements_end_before_the_rollback(single: Database) -> None:
    """For example if `gather` raises for one statement and leaves the others running."""
    async with asyncio.timeout(60), single.session() as session:

        async def both() -> None:
            async with session.transaction():
                await add(session, 1)
                await asyncio.gather(
                    session.execute(text("SELECT nothing")),
                    session.execute(text("SELECT 1")),
                    session.execute(text("SELECT 2")),
                )

        for _ in range(3):
            with pytest.raises(Exception, match="nothing"):
                await both()
        assert await session.scalar(COUNT) == 0
        assert checked_out(single) == 0


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8])
async def test_cancelled_waiters_do_not_block_the_session(single: Database, turns: int) -> None:
    async with asyncio.timeout(60), single.session() as session:
        async with session.transaction():
            pass

        async def hold() -> None:
            async with session.transaction():
                await asyncio.sleep(0.05)

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(await_if_needed(way(session))) for way in READS.values()]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await holding
        assert await session.scalar(COUNT) == 0
        assert checked_out(single) == 0


@pytest.mark.parametrize("turns", [*range(12), 16, 20, 24, 28, 32])
async def test_session_stays_usable_after_a_cancelled_transaction(
    single: Database, turns: int
) -> None:
    async with asyncio.timeout(60), single.session() as session:

        async def write() -> None:
            async with session.transaction():
                for number in range(1, 20):
                    await add(session, number)
                await asyncio.Event().wait()

        writing = asyncio.create_task(write())
        for turn in range(turns):
            await asyncio.sleep(0.001 if turn % 3 == 2 else 0)
        for _ in range(3):
            writing.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([writing])
        assert await session.scalar(COUNT) == 0
        async with session.transaction():
            await add(session, 1)
        assert await session.scalar(COUNT) == 1
        assert checked_out(single) == 0


async def test_batch_loader_and_fields_read_concurrently_without_deadlock(single: Database) -> None:
    """Some fields await a shared batch while others run their own statements."""
    async with asyncio.timeout(60), single.session() as session:
        batch: asyncio.Task[Any] | None = None

        async def field(number: int) -> Any:
            nonlocal batch
            if number % 2:
                return await session.scalar(text("SELECT 7"))
            batch = batch or asyncio.create_task(await_if_needed(session.scalar(text("SELECT 7"))))
            return await batch

        assert await asyncio.gather(*(field(n) for n in range(20))) == [7] * 20


EVENT_TARGETS: dict[str, Callable[[Database, Session], Any]] = {
    "before_execute": lambda database, _: database.engine.sync_engine,
    "after_execute": lambda database, _: database.engine.sync_engine,
    "before_cursor_execute": lambda database, _: database.engine.sync_engine,
    "after_cursor_execute": lambda database, _: database.engine.sync_engine,
    "checkout": lambda database, _: database.engine.sync_engine.pool,
    "checkin": lambda database, _: database.engine.sync_engine.pool,
    "reset": lambda database, _: database.engine.sync_engine,
    "engine_connect": lambda database, _: database.engine.sync_engine,
    "do_orm_execute": lambda _, session: session.sync_session,
    "after_begin": lambda _, session: session.sync_session,
    "after_transaction_end": lambda _, session: session.sync_session,
}


@pytest.mark.parametrize("name", EVENT_TARGETS)
@pytest.mark.parametrize("way", READS)
async def test_listener_receives_every_statement(database: Database, name: str, way: str) -> None:
    async with database.session() as session:
        await READS[way](session)
        pool: Any = database.engine.sync_engine.pool
        pool.check_in()  # the connection that is kept for the next read
        received: list[str] = []
        target = EVENT_TARGETS[name](database, session)
        event.listen(target, name, lambda *_: received.append(name))
        for number in range(1, 4):
            await READS[way](session)
            assert len(received) == number


@pytest.mark.parametrize("name", ["do_orm_execute", "after_begin"])
async def test_listener_on_all_sessions_receives_every_statement(
    database: Database, name: str
) -> None:
    received: list[str] = []

    def receive(*_: object) -> None:
        received.append(name)

    event.listen(SyncSession, name, receive)
    try:
        async with database.session() as session:
            for number, way in enumerate(READS.values(), 1):
                await way(session)
                assert len(received) == number
            assert await session.insert_user(row("ada"), event_of("ada")) == 1
            assert len(received) >= number + 1
    finally:
        event.remove(SyncSession, name, receive)


@pytest.mark.parametrize("name", ["before_commit", "after_commit"])
async def test_listener_for_commits_receives_each_write(database: Database, name: str) -> None:
    received: list[str] = []

    def receive(*_: object) -> None:
        received.append(name)

    event.listen(SyncSession, name, receive)
    try:
        async with database.session() as session:
            assert await session.insert_user(row("ada"), event_of("ada")) == 1
            assert received == [name]
            async with session.transaction():
                await add(session, 7)
            assert received == [name, name]
    finally:
        event.remove(SyncSession, name, receive)


async def test_error_handler_receives_every_error(database: Database) -> None:
    received: list[Any] = []
    event.listen(database.engine.sync_engine, "handle_error", received.append)
    wrong = PreparedStatement(select(text("nothing")))
    async with database.session() as session:
        with pytest.raises(DBAPIError):
            await session.fetch(wrong)
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT nothing"))
        with pytest.raises(IntegrityError):
            await session.insert_user(row("ada", version=0), event_of("ada"))
        assert len(received) == 3


@pytest.mark.parametrize("listened", [False, True])
async def test_insert_user_inserts_the_event_with_and_without_listeners(
    database: Database, *, listened: bool
) -> None:
    if listened:
        event.listen(database.engine.sync_engine, "before_execute", lambda *_: None)
    async with database.session() as session:
        assert await session.insert_user(row("ada"), event_of("ada")) == 1
        assert await session.insert_user(row("ada"), event_of("ada")) is None
        assert await count(database) == (1, 1)
        with pytest.raises(IntegrityError):
            await session.insert_user(row("bob"), event_of("bob", version_after=None))
        assert await count(database) == (1, 1)
