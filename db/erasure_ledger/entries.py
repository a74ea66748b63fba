"""Entries of the ledger, which contain no personal data, and what a ledger has to do.

An erasure has two entries: BEGUN before the database commits it, and ERASED afterwards. If the
database rolled it back, the second is DISMISSED. A crash between the two leaves an erasure
incomplete: only the database knows whether it was done.

Exception
└── LedgerError    the ledger cannot be read or written; the message has no details of the cause
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from db.observation import Observe


class LedgerError(Exception):
    pass


class State(StrEnum):
    BEGUN = "begun"
    ERASED = "erased"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """Identifies a row of `users` for ever: after a restore, its id is assigned to another user.

    `random_id` is None for rows from before the column, which can have no equal in a later backup.
    """

    user_id: int
    created_at: datetime
    random_id: UUID | None

    @classmethod
    def of(cls, user: Any) -> "RowIdentity":
        """Return the identity of a user, or of a row with these columns."""
        return cls(user.id, user.created_at, user.random_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """`erasure` is random. It is the same in the entries of one erasure."""

    state: State
    erasure: str
    row: RowIdentity
    at: datetime


class ErasureLedger(Protocol):
    """An append-only list of entries. All methods raise LedgerError."""

    @property
    def name(self) -> str:
        """What messages call it, without credentials."""

    async def append(self, entries: Collection[Entry]) -> None:
        """Append entries. They are durable on return."""

    async def read(self) -> "Erasures": ...

    async def check_writable(self) -> None:
        """Check that entries can be appended, without appending one."""

    def observe(self, observe: Observe, /) -> None:
        """Report the statements of the ledger from now on, if it has some."""

    async def close(self) -> None: ...


class Erasures:
    """What the entries of a ledger say together.

    `erased` are the rows that were erased. `unreadable` counts entries that a crash cut off.
    """

    def __init__(self) -> None:
        self.erased: dict[RowIdentity, None] = {}
        self.unreadable = 0
        self._begun: dict[str, Entry] = {}
        self._ended: set[str] = set()

    def add(self, entry: Entry) -> None:
        match entry.state:
            case State.BEGUN:
                self._begun[entry.erasure] = entry
            case State.ERASED:
                self.erased[entry.row] = None
                self._ended.add(entry.erasure)
            case State.DISMISSED:
                self._ended.add(entry.erasure)

    def incomplete(self) -> Iterator[Entry]:
        """Yield erasures that were begun, and may or may not have been done."""
        for erasure, entry in self._begun.items():
            if erasure not in self._ended and entry.row not in self.erased:
                yield entry
