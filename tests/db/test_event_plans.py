"""How much of the table of events the lists and counts read."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import ge
from typing import Any

import pytest
from sqlalchemy import Select

from db.engine import Database
from db.filters import EventFilter
from db.models import UserEventType
from db.pagination import Window
from db.prepared import PreparedStatement
from db.statements.conflicts import Span, ends_of
from db.statements.events import events_count_at_most, events_listing
from db.statements.histories import HISTORY_LENGTHS, histories

USERS, EVENTS = 1_000, 20_000
NUMBERS = {
    "postgresql": "SELECT n FROM generate_series(1, {}) n",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) "
    "SELECT n FROM s",
}
LATE = datetime(2030, 1, 1, tzinfo=UTC)
ROWS = 21
HISTORIES: dict[str, Any] = {"user_ids": [1, 2], "until": 2**62, "rows": ROWS}


@pytest.fixture
async def filled(database: Database) -> Database:
    await fill(database)
    return database


async def fill(database: Database) -> None:
    """Add a thousand users. The first has half of all events."""
    dialect = database.engine.dialect.name
    users, events = (NUMBERS[dialect].format(count) for count in (USERS, EVENTS))
    at = {
        "postgresql": "timestamptz '2024-01-01' + n * interval '1 minute'",
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', '2024-01-01', '+' || n || ' minutes')",
    }[dialect]
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"""INSERT INTO users (id, username, username_key, email, email_key, is_active, status,
              status_changed_at, version, created_at, updated_at) SELECT n, 'u' || n, 'u' || n,
              'u' || n, 'u' || n, true, 'ACTIVE', {at}, 1, {at}, {at} FROM ({users}) s"""  # noqa: S608 - of constants
        )
        await connection.exec_driver_sql(
            f"""INSERT INTO user_events (user_id, type, at, actor_kind, changes, version_after)
              SELECT CASE WHEN n % 2 = 0 THEN 1 ELSE 1 + n % {USERS} END,
              CASE WHEN n % 1000 = 0 THEN 'ERASED' ELSE 'UPDATED' END, {at}, 'system', '[]', n
              FROM ({events}) s"""  # noqa: S608 - of constants
        )
    async with database.engine.connect() as connection:
        # As autovacuum does: index-only scans are cheap then.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE")


async def plan(database: Database, statement: Select[Any]) -> Any:
    """Returns PostgreSQL's plan after an execution, or the steps of SQLite's plan."""
    dialect = database.engine.dialect
    return await _plan(
        database, str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    )


async def plan_of_prepared(database: Database, prepared: PreparedStatement, **values: Any) -> Any:
    compiled = prepared.on(database.engine.dialect)
    return await _plan(database, compiled.text, *compiled.arguments(values))


async def _plan(database: Database, text: str, *values: Any) -> Any:
    explain = "QUERY PLAN" if database.is_sqlite else "(ANALYZE, TIMING OFF, FORMAT JSON)"
    async with database.engine.connect() as connection:
        found = await connection.exec_driver_sql(f"EXPLAIN {explain} {text}", values)
        rows = found.all()
    if database.is_sqlite:
        return [row[-1] for row in rows]
    document = rows[0][0]
    return (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


def rows_read(plan: dict[str, Any]) -> int:
    """Returns how many events a plan of PostgreSQL has read, including those it discarded."""
    return sum(
        round(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
        for node in nodes_of(plan)
        if node.get("Relation Name", "").startswith("user_events")  # or one of its partitions
    )


@pytest.mark.parametrize("end", ["first", "last"])
@pytest.mark.parametrize("place", [{}, {"after": 10_000}, {"before": 10_000}])
async def test_histories_read_only_the_events_of_their_windows(
    filled: Database, place: dict[str, int], end: str
) -> None:
    statement = histories(after="after" in place, before="before" in place, from_end=end == "last")
    values = {f"{name}_0": value for name, value in place.items()}
    found = await plan_of_prepared(filled, statement, **HISTORIES, **values)
    if filled.is_sqlite:
        [users, *events] = [step for step in found if step.startswith("SEARCH")]
        assert users == "SEARCH users USING INTEGER PRIMARY KEY (rowid=?)"
        assert all("ix_user_events_user_id_id (user_id=? AND id" in step for step in events)
        assert [step for step in found if step.startswith("SCAN user_events")] == []
    else:
        # The keys of the last rows, and the rows, of two users.
        assert rows_read(found) <= 2 * 2 * ROWS


async def test_length_of_a_history_is_one_index_lookup(filled: Database) -> None:
    found = await plan_of_prepared(filled, HISTORY_LENGTHS, user_ids=[1, 2], until=2**62)
    if filled.is_sqlite:
        assert "ix_user_events_user_id_id (user_id=? AND id<?)" in found[-1]
    else:
        assert rows_read(found) <= 2


@pytest.mark.parametrize(
    ("filter", "most"),
    [
        (EventFilter(), 100),
        # Every second event is of this user, so the table is as good as an index.
        (EventFilter(user_ids=(1,)), 250),
        (EventFilter(types=(UserEventType.ERASED,)), EVENTS // 1_000),
        (EventFilter(at=((ge, LATE),)), 0),
    ],
)
async def test_counts_read_no_more_events_than_their_limit(
    filled: Database, filter: EventFilter, most: int
) -> None:
    found = await plan(filled, events_count_at_most(filter, None, 100))
    if filled.is_sqlite:
        assert [step for step in found if "COVERING INDEX" in step or "PRIMARY KEY" in step]
    else:
        assert rows_read(found) <= most


@pytest.mark.parametrize(
    "filter",
    [EventFilter(), EventFilter(user_ids=(1,)), EventFilter(types=(UserEventType.ERASED,))],
)
async def test_newest_events_are_read_from_an_index(filled: Database, filter: EventFilter) -> None:
    found = await plan(filled, events_listing(filter, EVENTS).page(Window(20, from_end=True)))
    if filled.is_sqlite:
        assert [step for step in found if "TEMP B-TREE" in step and "RIGHT" not in step] == []
    else:
        assert rows_read(found) <= 2 * 21


@pytest.mark.parametrize("spans", [[(1, 1_000, 1_100)], [(1, 1_000, 1_050), (2, 1, 2_000)]])
async def test_changes_of_conflicts_read_only_the_events_since_the_expected_version(
    filled: Database, spans: list[Span]
) -> None:
    found = await plan(filled, ends_of(spans))
    if filled.is_sqlite:
        events = [step for step in found if "user_events" in step]
        assert all("(user_id=? AND version_after" in step for step in events)
        assert len(events) == 2
        assert [step for step in events if step.startswith("SCAN")] == []
    else:
        # Each event of the first user has an even version. The first and last are read again.
        assert rows_read(found) <= 50 + 3 * len(spans)
