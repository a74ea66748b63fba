"""Records erasures in the ledger, which is outside of the database (ADR 32)."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Final

import structlog

from db.erasure_ledger.entries import Entry, ErasureLedger, LedgerError, RowIdentity, State
from db.models import User
from db.outcome import Outcome
from db.session import Session
from users.clock import now

log = structlog.get_logger("roster")

_WAIT: Final = 10.0  # seconds, longer than a ledger takes to append


def record(session: Session, erased: Collection[User]) -> None:
    """Record erasures of the current transaction: begun before COMMIT, erased afterwards.

    An erasure is repeated without an effect on the user, and recorded again: the first record may
    have failed, or there was no ledger.
    """
    ledger: ErasureLedger | None = session.info.get("erasure_ledger")
    if ledger and erased:
        session.enlist(_Record(ledger, [RowIdentity.of(user) for user in erased]))


def entries(state: State, rows: Collection[RowIdentity], at: datetime) -> list[Entry]:
    return [Entry(state, token_hex(16), row, at) for row in rows]


class _Record:
    """The entries of one transaction. If the ledger fails before COMMIT, nothing is erased."""

    def __init__(self, ledger: ErasureLedger, rows: Collection[RowIdentity]) -> None:
        self._ledger = ledger
        self._begun: Sequence[Entry] = entries(State.BEGUN, rows, now())
        self._append: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        self._append = asyncio.create_task(self._ledger.append(self._begun))
        # If the request is cancelled, the entries may have been written: `end` has to know.
        await asyncio.shield(self._append)

    async def end(self, outcome: Outcome) -> None:
        if self._append is None:
            return
        if outcome is Outcome.DONE:
            await self._ledger.append(self._ended(State.ERASED))
        elif outcome is Outcome.NOT_DONE:
            await self._dismiss(self._append)
        # Otherwise only the database knows: `users.erase_replay` asks it.

    async def _dismiss(self, append: asyncio.Task[None]) -> None:
        await asyncio.wait({append}, timeout=_WAIT)
        if not append.done() or append.cancelled() or append.exception():
            return
        try:
            await self._ledger.append(self._ended(State.DISMISSED))
        except LedgerError as error:
            log.warning("the ledger has erasures that were not done", cause=str(error))

    def _ended(self, state: State) -> list[Entry]:
        at = now()
        return [Entry(state, begun.erasure, begun.row, at) for begun in self._begun]
