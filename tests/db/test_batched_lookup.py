"""Look-ups of many at once: one statement, and never an answer from before the question."""

import asyncio
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import pytest

from db import batched_lookup
from db.batched_lookup import AT_ONCE, KeyLookup

Row = namedtuple("Row", "key value")  # noqa: PYI024 - a row as reads give it


class Table:
    """Answers statements when it is told to, from what it holds then or held when they began."""

    def __init__(self) -> None:
        self.rows = {n: Row(n, f"value {n}") for n in range(10)}
        self.asked: list[list[Any]] = []
        self.running = self.most = 0
        self.answering = asyncio.Event()
        self.fails: Exception | None = None
        self.ended = 0

    async def read(self, keys: list[Any]) -> Sequence[Row]:
        snapshot = dict(self.rows)
        self.asked.append(keys)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        finally:
            self.running -= 1
        if self.fails:
            raise self.fails
        return [snapshot[key] for key in keys if key in snapshot]


def values(found: Sequence[Sequence[Row | None]]) -> list[str | None]:
    return [row and row.value for rows in found for row in rows]


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def busy(found: KeyLookup, table: Table) -> list[asyncio.Future[Any]]:
    """Have as many statements run as may."""
    asked = []
    for n in range(AT_ONCE):
        asked.append(found.load([n]))
        await turns()
    assert table.running == AT_ONCE
    return asked


async def test_all_who_ask_at_once_are_one_statement() -> None:
    table = Table()
    table.answering.set()
    found = KeyLookup(table.read)
    rows = await asyncio.gather(*(found.load([key]) for key in (3, 1, 3, 99)))
    assert values(rows) == ["value 3", "value 1", "value 3", None]
    assert table.asked == [[3, 1, 99]]


async def test_whoever_asks_alone_does_not_wait() -> None:
    table = Table()
    found = KeyLookup(table.read)
    asking = found.load([1])
    await turns()
    assert table.asked == [[1]]
    table.answering.set()
    assert await asking == [table.rows[1]]


async def test_what_comes_while_statements_run_is_the_next_one() -> None:
    table = Table()
    found = KeyLookup(table.read)
    first = await busy(found, table)
    later = []
    for key in (5, 6, 5, 0):  # 0 is being asked for already, and is asked for anew
        later.append(found.load([key]))
        await turns()
    assert len(table.asked) == AT_ONCE
    table.rows[0] = Row(0, "written meanwhile")
    table.answering.set()
    assert values(await asyncio.gather(*first)) == [f"value {n}" for n in range(AT_ONCE)]
    assert values(await asyncio.gather(*later)) == [
        "value 5",
        "value 6",
        "value 5",
        "written meanwhile",
    ]
    assert table.asked[AT_ONCE:] == [[5, 6, 0]]
    assert table.most == AT_ONCE


async def test_whoever_asks_for_several_gets_them_in_their_order() -> None:
    table = Table()
    table.answering.set()
    found = KeyLookup(table.read)
    rows = await asyncio.gather(found.load([3, 99, 3]), found.load([1, 3]), found.load([]))
    assert [values([some]) for some in rows] == [
        ["value 3", None, "value 3"],
        ["value 1", "value 3"],
        [],
    ]
    assert table.asked == [[3, 99, 1]]


async def test_a_statement_has_so_many_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched_lookup, "MAX_KEYS", 3)
    table = Table()
    table.answering.set()
    found = KeyLookup(table.read)
    rows = await asyncio.gather(*(found.load([key]) for key in range(8)))
    assert values(rows) == [f"value {n}" for n in range(8)]
    assert table.asked == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_whoever_leaves_takes_nobody_along() -> None:
    table = Table()
    found = KeyLookup(table.read)
    leaving, staying = (found.load([1]) for _ in range(2))
    await turns()
    leaving.cancel()
    await found.end_unwanted()
    assert (table.running, table.ended) == (1, 0)
    table.answering.set()
    assert await staying == [table.rows[1]]
    assert leaving.cancelled()


async def test_a_statement_that_nobody_waits_for_is_ended() -> None:
    table = Table()
    found = KeyLookup(table.read)
    leaving = [found.load([key]) for key in (1, 2)]
    await turns()
    leaving[0].cancel()
    await found.end_unwanted()
    assert (table.running, table.ended) == (1, 0)
    leaving[1].cancel()
    await found.end_unwanted()
    assert (table.running, table.ended) == (0, 1)
    table.answering.set()
    assert await found.load([3]) == [table.rows[3]]


async def test_whoever_leaves_before_the_statement_is_not_asked_for() -> None:
    table = Table()
    found = KeyLookup(table.read)
    first = await busy(found, table)
    leaving, staying = (found.load([key]) for key in (7, 8))
    await turns()
    leaving.cancel()
    await turns()
    table.answering.set()
    assert await staying == [table.rows[8]]
    assert table.asked[AT_ONCE:] == [[8]]
    await asyncio.gather(*first)


async def test_an_error_is_everybody_s_and_ends_with_its_statement() -> None:
    table = Table()
    table.fails = ZeroDivisionError()
    table.answering.set()
    found = KeyLookup(table.read)
    ends = await asyncio.gather(*(found.load([key]) for key in (1, 2)), return_exceptions=True)
    assert ends == [table.fails] * 2
    table.fails = None
    assert await found.load([1]) == [table.rows[1]]


async def test_closing_ends_what_runs() -> None:
    table = Table()
    found = KeyLookup(table.read)
    asking = found.load([1])
    await turns()
    await found.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert table.ended == 1
