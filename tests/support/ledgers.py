"""Entries of a ledger of erasures, and ledgers that fail."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from db.erasure_ledger.entries import Entry, Erasures, LedgerError, RowIdentity, State
from db.erasure_ledger.opening import open_ledger
from db.observation import Observe

AT = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)


def row(user_id: int, random_id: UUID | None = None) -> RowIdentity:
    return RowIdentity(user_id, AT, random_id)


def entry(state: State, user_id: int, erasure: str | None = None) -> Entry:
    return Entry(state, erasure or uuid4().hex, row(user_id), AT)


async def read_ledger(setting: str) -> Erasures:
    ledger = open_ledger(setting)
    try:
        return await ledger.read()
    finally:
        await ledger.close()


async def stored_entries(setting: str) -> list[tuple[str, int]]:
    """Returns the state and user id of each entry, in order, without Roster's code."""
    if "://" not in setting:
        return _entries_of(Path(setting))
    connection = await asyncpg.connect(setting)
    try:
        rows = await connection.fetch("SELECT state, user_id FROM roster_erasures ORDER BY id")
    except asyncpg.UndefinedTableError:
        return []
    finally:
        await connection.close()
    return [(each["state"], each["user_id"]) for each in rows]


def _entries_of(file: Path) -> list[tuple[str, int]]:
    lines = file.read_text().splitlines()[1:] if file.exists() else []
    found = [json.loads(line.rpartition(" ")[0]) for line in lines]
    return [(each["state"], each["user"]) for each in found]


class FailingLedger:
    """A ledger in memory that cannot append entries of a state."""

    name = "a ledger"

    def __init__(self, *states: State) -> None:
        self.fails = set(states)
        self.entries: list[Entry] = []

    async def append(self, entries: Collection[Entry]) -> None:
        if {each.state for each in entries} & self.fails:
            raise LedgerError("no space left")
        self.entries += entries

    async def read(self) -> Erasures:
        erasures = Erasures()
        for each in self.entries:
            erasures.add(each)
        return erasures

    def observe(self, _: Observe) -> None:
        pass

    async def check_writable(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def states(self) -> list[Any]:
        return [(each.state, each.row.user_id) for each in self.entries]
