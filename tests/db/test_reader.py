"""Prepared reads: they return the same values as SQLAlchemy, and replace lost connections."""

import asyncio
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from asyncpg import ConnectionDoesNotExistError
from sqlalchemy import event, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database
from db.errors import is_unreachable
from db.filters import UserFilter
from db.models import ActorKind, User, UserEvent, UserEventType, UserStatus
from db.pagination import Sort, Window
from db.prepared import PreparedStatement
from db.statements.events import EVENTS_BY_ID
from db.statements.users import (
    USERS_BY_EXTERNAL_ID,
    USERS_BY_ID,
    USERS_BY_USERNAME,
    everybody,
    user_columns,
    users_listing,
)
from tests.conftest import opened, select_one
from tests.db.test_cancelling import ENDLESS

AT = datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
WHOLE = datetime(2026, 1, 1, tzinfo=UTC)
ODD = "'\"%_\\:a?$1 \u00e9\u0130\U0001f469"
# Unique statements, because other tests use the same server concurrently.
ENDED = {
    "sqlite": ENDLESS["sqlite"].replace("tell()", "1"),
    "postgresql": "SELECT pg_sleep(601)",
}
ONE = PreparedStatement(select(literal_column("1").label("one")))


def user(number: int, **columns: Any) -> User:
    name = columns.pop("username", f"user{number}")
    defaults: dict[str, Any] = {
        "id": number,
        "username": name,
        "username_key": name,
        "email": f"{number}@example.com",
        "email_key": f"{number}@example.com",
        "status": UserStatus.ACTIVE,
        "is_active": True,
        "status_changed_at": WHOLE,
        "version": 1,
        "created_at": AT,
        "updated_at": WHOLE,
    }
    return User(**defaults | columns)


EVENT = UserEvent(
    id=1,
    user_id=1,
    type=UserEventType.CREATED,
    at=AT,
    actor_kind=ActorKind.USER,
    changes=[{"field": "username", "before": None, "after": ODD}],
    version_after=1,
)


async def execute(database: Database, statement: Any) -> Any:
    async with database.session() as session:
        return (await session.execute(statement)).all()


@pytest.fixture
async def filled(database: Database) -> Database:
    deleted: dict[str, Any] = {"status": UserStatus.DELETED, "is_active": False, "deleted_at": AT}
    async with database.session() as session, session.transaction():
        session.add_all(
            [
                user(1, username=ODD, display_name=ODD, external_id=ODD, erase_after=AT),
                user(2, username="same", **deleted),
                user(3, username="same"),
            ]
        )
        await session.flush()
        session.add(UserEvent(**{c.key: getattr(EVENT, c.key) for c in UserEvent.__table__.c}))
    return database


@pytest.mark.parametrize(
    ("statement", "keys", "found"),
    [
        (USERS_BY_ID, [1, 2, 3, 4], [1, 2, 3]),
        (USERS_BY_ID, [2**63 - 1], []),
        (USERS_BY_ID, [], []),
        (USERS_BY_USERNAME, [ODD, "same", "x" * 300], [1, 3]),
        (USERS_BY_EXTERNAL_ID, [ODD, "", "[1]"], [1]),
        (EVENTS_BY_ID, [1, 2], [1]),
    ],
    ids=["ids", "a great id", "none", "names", "external ids", "events"],
)
async def test_prepared_reads_return_the_same_rows_as_sqlalchemy(
    filled: Database, statement: Any, keys: list[Any], found: list[int]
) -> None:
    rows = sorted(await filled.reader.fetch(statement, {"keys": keys}))
    async with filled.session() as session:
        by_session: Any = sorted(await session.execute(statement.statement, {"keys": keys}))
    assert [row.id for row in rows] == found
    assert [row._fields for row in rows] == [row._fields for row in by_session]
    assert [[(type(v), v) for v in row] for row in rows] == [
        [(type(v), v) for v in row] for row in by_session
    ]


async def test_a_row_has_its_columns_as_attributes(filled: Database) -> None:
    [row] = await filled.reader.fetch(USERS_BY_ID, {"keys": [1]})
    assert (row.username, row.status, row.created_at) == (ODD, UserStatus.ACTIVE, AT)
    assert (row.is_active, row.deleted_at, row.status_changed_at) == (True, None, WHOLE)
    assert row.created_at.tzinfo is UTC
    with pytest.raises(AttributeError):
        row.nothing  # noqa: B018 - that it isn't there


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize(
    "order",
    [
        (("created_at", True), ("id", True)),
        (("status", False), ("id", False)),
        (("updated_at", False), ("username_key", True), ("id", True)),
    ],
    ids=["newest first", "by status", "mixed"],
)
async def test_prepared_listing_equals_the_built_listing(
    filled: Database, order: tuple[tuple[str, bool], ...], *, from_end: bool
) -> None:
    async with filled.session() as session, session.transaction():
        session.add_all([user(n, created_at=AT.replace(year=1990 + n % 7)) for n in range(4, 30)])
    sorts = [Sort(getattr(User, name), descending) for name, descending in order]
    columns = frozenset({"username", "status"})
    listing = users_listing(UserFilter(), sorts, user_columns(columns))
    everyone = await execute(filled, listing.page(Window(100)))
    positions = [tuple(getattr(row, name) for name, _ in order) for row in everyone]
    assert len(positions) == 28  # without the deleted user
    for after, before in product(
        (None, positions[3], positions[-1]), (None, positions[20], positions[0])
    ):
        window = Window(5, after, before, from_end)
        prepared = everybody(
            order,
            columns,
            after=after is not None,
            before=before is not None,
            from_end=from_end,
        )
        rows = await filled.reader.fetch(prepared, window.given())
        built = await execute(filled, listing.page(window))
        assert [row._asdict() for row in rows] == [row._asdict() for row in built]
        assert prepared is everybody(
            order,
            columns,
            after=after is not None,
            before=before is not None,
            from_end=from_end,
        )


async def test_read_sees_earlier_commits(filled: Database) -> None:
    names = filled.reader.lookup(USERS_BY_ID)
    [before] = await names.load([3])
    async with filled.session() as session, session.transaction():
        (await session.get_one(User, 3)).version = 2
    [after] = await names.load([3])
    assert (before.version, after.version) == (1, 2)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_cancelled_read_is_ended_on_the_server(
    database: Database, dialect: str, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = database.reader
    fetch = reader.driver_fetch
    monkeypatch.setattr(
        reader, "driver_fetch", lambda driver, *_: fetch(driver, ENDED[dialect], [])
    )
    async with asyncio.timeout(60):
        await select_one(database)
        reading = asyncio.create_task(reader.fetch(ONE))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        monkeypatch.undo()
        assert [tuple(row) for row in await reader.fetch(ONE)] == [(1,)]
        if dialect == "postgresql":
            async with database.engine.connect() as connection:
                running = text(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND query = :query"
                )
                found = await connection.execute(running, {"query": ENDED[dialect]})
                assert found.scalar_one() == 0
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


postgres = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
TERMINATE_SELF = "SELECT pg_terminate_backend(pg_backend_pid())"


@postgres
async def test_closed_connections_are_not_reused(database_url: str) -> None:
    async with opened(database_url, pool_size=3, pool_pre_ping=False) as database:
        held = [await database.engine.raw_connection() for _ in range(3)]
        drivers: list[Any] = [connection.driver_connection for connection in held]
        for connection in held:
            connection.close()
        for driver in drivers[:2]:
            with pytest.raises(ConnectionDoesNotExistError):
                await driver.fetch(TERMINATE_SELF)
        held = [await database.engine.raw_connection() for _ in range(3)]
        again: list[Any] = [connection.driver_connection for connection in held]
        assert drivers[2] in again
        assert not any(driver.is_closed() for driver in again)
        for connection in held:
            connection.close()
        for _ in range(6):
            assert [tuple(row) for row in await database.reader.fetch(ONE)] == [(1,)]
            assert [tuple(row) for row in await execute(database, ONE.statement)] == [(1,)]


@postgres
@pytest.mark.parametrize("cuts", [1, 2])
async def test_read_with_a_lost_connection_is_retried_once(
    database_url: str, cuts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database_url, pool_size=3, pool_pre_ping=False) as database:
        reader, left = database.reader, cuts
        old = [await database.engine.raw_connection() for _ in range(3)]
        pids = {connection.driver_connection.get_server_pid() for connection in old}  # type: ignore[union-attr]
        for connection in old:
            connection.close()
        fetch, used = reader.driver_fetch, []

        async def cut(driver: Any, text: str, arguments: Any) -> Any:
            nonlocal left
            used.append(driver.get_server_pid())
            left -= 1
            return await fetch(driver, TERMINATE_SELF if left >= 0 else text, arguments)

        monkeypatch.setattr(reader, "driver_fetch", cut)
        reading = reader.fetch(ONE)
        if cuts == 1:
            assert [tuple(row) for row in await reading] == [(1,)]
        else:
            with pytest.raises(DBAPIError) as caught:
                await reading
            assert caught.value.connection_invalidated
            assert is_unreachable(caught.value)
        assert len(used) == 2
        assert used[0] in pids
        assert used[1] not in pids  # the other connections are likely lost too
        assert [tuple(row) for row in await reader.fetch(ONE)] == [(1,)]
        assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_failed_statement_releases_its_connection(database: Database) -> None:
    wrong = PreparedStatement(select(literal_column("nothing").label("one")))
    for _ in range(20):
        with pytest.raises(Exception, match="nothing") as caught:
            await database.reader.fetch(wrong)
        assert not is_unreachable(caught.value)
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_engine_listener_receives_prepared_reads(database: Database) -> None:
    statements: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def record(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    await database.reader.fetch(ONE)
    assert statements == [ONE.on(database.engine.dialect).text]
