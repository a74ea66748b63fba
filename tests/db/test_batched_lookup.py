"""Batched look-ups: concurrent keys share a statement, and no result is older than its request."""

import asyncio
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import pytest

from db.batched_lookup import AT_ONCE, KeyLookup

Row = namedtuple("Row", "key value")  # noqa: PYI024 - the row type that reads return


class Table:
    """A fake table: a statement returns the rows from its start once `answering` is set."""

    def __init__(self) -> None:
        self.rows = {n: Row(n, f"value {n}") for n in range(10)}
        self.requests: list[list[Any]] = []
        self.running = self.max_running = 0
        self.answering = asyncio.Event()
        self.fails: Exception | None = None
        self.cancelled_statements = 0

    async def read(self, keys: list[Any]) -> Sequence[Row]:
        snapshot = dict(self.rows)
        self.requests.append(keys)
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.cancelled_statements += 1
            raise
        finally:
            self.running -= 1
        if self.fails:
            raise self.fails
        return [snapshot[key] for key in keys if key in snapshot]


def values(groups: Sequence[Sequence[Row | None]]) -> list[str | None]:
    return [row and row.value for rows in groups for row in rows]


async def run_loop(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def start_all_statements(lookup: KeyLookup, table: Table) -> list[asyncio.Future[Any]]:
    """Starts the maximum number of concurrent statements."""
    requests = []
    for n in range(AT_ONCE):
        requests.append(lookup.load([n]))
        await run_loop()
    assert table.running == AT_ONCE
    return requests


async def test_concurrent_loads_share_one_statement() -> None:
    table = Table()
    table.answering.set()
    lookup = KeyLookup(table.read)
    rows = await asyncio.gather(*(lookup.load([key]) for key in (3, 1, 3, 99)))
    assert values(rows) == ["value 3", "value 1", "value 3", None]
    assert table.requests == [[3, 1, 99]]


async def test_single_load_runs_without_delay() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    pending = lookup.load([1])
    await run_loop()
    assert table.requests == [[1]]
    table.answering.set()
    assert await pending == [table.rows[1]]


async def test_loads_during_running_statements_form_the_next_batch() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    first = await start_all_statements(lookup, table)
    later = []
    for key in (5, 6, 5, 0):  # a running statement requests 0 already
        later.append(lookup.load([key]))
        await run_loop()
    assert len(table.requests) == AT_ONCE
    table.rows[0] = Row(0, "written meanwhile")
    table.answering.set()
    assert values(await asyncio.gather(*first)) == [f"value {n}" for n in range(AT_ONCE)]
    assert values(await asyncio.gather(*later)) == [
        "value 5",
        "value 6",
        "value 5",
        "written meanwhile",
    ]
    assert table.requests[AT_ONCE:] == [[5, 6, 0]]
    assert table.max_running == AT_ONCE


async def test_load_of_several_keys_returns_rows_in_requested_order() -> None:
    table = Table()
    table.answering.set()
    lookup = KeyLookup(table.read)
    rows = await asyncio.gather(lookup.load([3, 99, 3]), lookup.load([1, 3]), lookup.load([]))
    assert [values([some]) for some in rows] == [
        ["value 3", None, "value 3"],
        ["value 1", "value 3"],
        [],
    ]
    assert table.requests == [[3, 99, 1]]


async def test_batch_larger_than_max_keys_is_split() -> None:
    table = Table()
    table.answering.set()
    lookup = KeyLookup(table.read, max_keys=3)
    rows = await asyncio.gather(*(lookup.load([key]) for key in range(8)))
    assert values(rows) == [f"value {n}" for n in range(8)]
    assert table.requests == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_cancelled_load_does_not_cancel_other_loads_of_its_key() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    leaving, staying = (lookup.load([1]) for _ in range(2))
    await run_loop()
    leaving.cancel()
    await lookup.end_unwanted()
    assert (table.running, table.cancelled_statements) == (1, 0)
    table.answering.set()
    assert await staying == [table.rows[1]]
    assert leaving.cancelled()


async def test_statement_is_cancelled_when_all_its_loads_are_cancelled() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    leaving = [lookup.load([key]) for key in (1, 2)]
    await run_loop()
    leaving[0].cancel()
    await lookup.end_unwanted()
    assert (table.running, table.cancelled_statements) == (1, 0)
    leaving[1].cancel()
    await lookup.end_unwanted()
    assert (table.running, table.cancelled_statements) == (0, 1)
    table.answering.set()
    assert await lookup.load([3]) == [table.rows[3]]


async def test_load_cancelled_before_its_statement_is_not_requested() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    first = await start_all_statements(lookup, table)
    leaving, staying = (lookup.load([key]) for key in (7, 8))
    await run_loop()
    leaving.cancel()
    await run_loop()
    table.answering.set()
    assert await staying == [table.rows[8]]
    assert table.requests[AT_ONCE:] == [[8]]
    await asyncio.gather(*first)


async def test_statement_error_reaches_all_its_loads_and_no_later_ones() -> None:
    table = Table()
    table.fails = ZeroDivisionError()
    table.answering.set()
    lookup = KeyLookup(table.read)
    ends = await asyncio.gather(*(lookup.load([key]) for key in (1, 2)), return_exceptions=True)
    assert ends == [table.fails] * 2
    table.fails = None
    assert await lookup.load([1]) == [table.rows[1]]


async def test_close_cancels_running_statements() -> None:
    table = Table()
    lookup = KeyLookup(table.read)
    pending = lookup.load([1])
    await run_loop()
    await lookup.close()
    with pytest.raises(asyncio.CancelledError):
        await pending
    assert table.cancelled_statements == 1
