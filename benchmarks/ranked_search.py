"""Searches in the order of the rank, on PostgreSQL and on a copy in SQLite.

The texts are those of search-as-you-type and those that are hard to find: short, frequent, in many
words, and without a match. The second page continues from a cursor.
"""

import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from math import ceil
from typing import Any, Final

from rich.table import Table
from sqlalchemy import insert, select, text, true

from db import migrations
from db.engine import Database
from db.models import User, UserStatus
from db.pagination import Window
from db.search import RankedListing
from db.session import Session
from db.statements.users import USER_COLUMNS
from graph.api.inputs.user_filter import UserFilter, read_filter, read_search
from graph.api.pagination import read_ranked_page
from users.key_cache import KeyCache

ROUNDS: Final = 100
_LEAST: Final = 3
_SECONDS: Final = 300  # for one database: searches that read every user take long
_BATCH: Final = 10_000
_TEXTS: Final = (
    *("f", "fr", "fri", "frid", "frida", "frida a"),
    *("z", "zq", "an", "co", "%", "é", "o'", "xyzzyx", "quetzalcoatl", "example", "com"),
    *("tomas k", "tomas kk", "frida quetzalcoatl", "frida nobody", "王", "王芳"),
    *("a b c d e f g h", "frida a example com b c d e"),
)
_FILTERED: Final = ("f", "an", "zq", "example")
Times = dict[str, list[float]]


async def measure(database: Database) -> Times:
    """Return the times of each search in milliseconds. The searches alternate."""
    times: Times = {}
    asked: list[tuple[str, UserFilter | None]] = [(words, None) for words in _TEXTS]
    deactivated = UserFilter(status=[UserStatus.DEACTIVATED])
    asked += [(words, deactivated) for words in _FILTERED]
    async with database.session() as session:
        began = time.monotonic()
        for number, (words, wanted) in product(range(ROUNDS + 1), asked):
            if number > _LEAST and time.monotonic() - began > _SECONDS:
                break
            name = words if wanted is None else f"{words} (deactivated)"
            listing = await _listing(words, wanted)
            first, rows = await _timed(session, listing, Window(20))
            pages = {name: first}
            if len(rows) == 20:  # noqa: PLR2004 - a whole page
                after = Window(20, after=(rows[-1].rank, rows[-1].id))
                pages[f"{name}, second page"] = (await _timed(session, listing, after))[0]
            if number:
                for page, took in pages.items():
                    times.setdefault(page, []).append(took)
    return times


async def _listing(words: str, given: UserFilter | None) -> RankedListing:
    search = await read_search(words, KeyCache())
    assert search is not None
    wanted = await read_filter(given, search, KeyCache(), true())
    return RankedListing(USER_COLUMNS, search, wanted.within(), wanted.conditions)


async def _timed(
    session: Session, listing: RankedListing, window: Window
) -> tuple[float, Sequence[Any]]:
    began = time.perf_counter()
    page = await read_ranked_page(session, listing, window)
    return (time.perf_counter() - began) * 1_000, page.rows


@asynccontextmanager
async def sqlite_copy(source: Database) -> AsyncIterator[Database]:
    """Yield an SQLite database with the same users."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Database(f"sqlite:///{folder}/roster.db", pool_size=1)
        try:
            await migrations.upgrade(copy)
            last = 0
            page = select(User.__table__).order_by(User.id).limit(_BATCH)
            while True:
                async with source.session() as session:
                    rows = (await session.execute(page.where(User.id > last))).mappings().all()
                if not rows:
                    break
                async with copy.session() as session, session.transaction():
                    await session.execute(insert(User), [dict(row) for row in rows])
                last = rows[-1]["id"]
            async with copy.session() as session:
                await session.execute(text("ANALYZE"))
            yield copy
        finally:
            await copy.close()


def table(people: int, measured: dict[str, Times]) -> Table:
    made = Table(
        title=f"Ranked searches of {people:,} users: p50 and p99 in ms, up to {ROUNDS} runs"
    )
    made.add_column("search")
    for database in measured:
        made.add_column(database, justify="right")
    for name in next(iter(measured.values())):
        made.add_row(name, *(_cell(times.get(name, [])) for times in measured.values()))
    return made


def _cell(times: list[float]) -> str:
    if not times:
        return ""
    p99 = sorted(times)[ceil(len(times) * 0.99) - 1]
    return f"{statistics.median(times):.1f} · {p99:.1f}"
