"""Compares the database with the ledger of erasures, and erases again what a restore has undone."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from db.engine import Database
from db.erasure_ledger.entries import Entry, ErasureLedger, RowIdentity, State
from db.models import ActorKind, UserStatus
from db.outcome import Write
from db.session import Session
from db.statements.users import erased_users, identities_of, users_to_write
from users.batches import batched
from users.clock import now
from users.commands import Erase, Transition
from users.erasures import entries
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.retention import forget
from users.retry import must_queue, retry_transaction
from users.service import UserService

T = TypeVar("T")

_BATCH: Final = 100
_PAGE: Final = 1_000
REPLAY = Caller(Actor(ActorKind.SYSTEM, label="roster erase-replay"), EVERY_SCOPE)
_REASON: Final = "Erased before a restore of the database."
# Erasures in progress get their second entry within this time.
_SETTLED: Final = timedelta(seconds=10)
_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Comparison:
    """The database compared with its ledger.

    `not_erased` are users that the ledger knows as erased and the database does not: a restore has
    brought them back. `absent` counts rows that the database does not have. `incomplete` are
    erasures that may or may not have been done, of users that the database has and did not erase.
    `missing` are erased users that the ledger does not know.
    """

    erased: int = 0
    absent: int = 0
    unreadable: int = 0
    not_erased: list[RowIdentity] = field(default_factory=list)
    incomplete: list[Entry] = field(default_factory=list)
    missing: list[RowIdentity] = field(default_factory=list)

    def with_next(self, later: "Comparison") -> "Comparison":
        """Return the sum of two replays, of which the second is `later`."""
        return replace(
            later,
            erased=self.erased,
            not_erased=self.not_erased + later.not_erased,
            missing=self.missing + later.missing,
        )


async def compare(database: Database, ledger: ErasureLedger) -> Comparison:
    """Compare without changing either. Raises LedgerError."""
    erasures = await ledger.read()
    found = Comparison(unreadable=erasures.unreadable)
    async with database.session() as session:
        for rows in batched(erasures.erased, _PAGE):
            is_erased = await _is_erased(session, rows)
            for row in rows:
                if row not in is_erased:
                    found.absent += 1
                elif is_erased[row]:
                    found.erased += 1
                else:
                    found.not_erased.append(row)
        for begun in batched(erasures.incomplete(), _PAGE):
            is_erased = await _is_erased(session, [entry.row for entry in begun])
            found.incomplete += [entry for entry in begun if is_erased.get(entry.row) is False]
        known = erasures.erased
        erased = map(RowIdentity.of, await session.execute(erased_users()))
        found.missing = [row for row in erased if row not in known]
    return found


async def complete_ledger(database: Database, ledger: ErasureLedger) -> Comparison:
    """Compare, and add the erased users to the ledger that it does not know.

    These are incomplete erasures that were done, and those from before there was a ledger.
    """
    found = await compare(database, ledger)
    for rows in batched(found.missing, _PAGE):
        await ledger.append(entries(State.ERASED, rows, now()))
    return found


async def settle(ledger: ErasureLedger, begun: Collection[Entry], state: State) -> None:
    """Decide incomplete erasures."""
    at = now()
    await ledger.append([Entry(state, entry.erasure, entry.row, at) for entry in begun])


async def replay(
    database: Database, ledger: ErasureLedger, clock: Callable[[], datetime] = now
) -> Comparison:
    """Erase all users again that the ledger has as erased. Returns what was found.

    Each batch is one transaction, so that an interrupted replay can be repeated. `database` has no
    ledger of its own: these erasures are recorded already. Erasures that began before a restore of
    a database in use may be completed in the ledger after it, so the replay waits for them.
    """
    total = None
    while True:
        found = await complete_ledger(database, ledger)
        for rows in batched(found.not_erased, _BATCH // 2):
            await _erase_again(database, rows, clock)
        if found.not_erased:
            await database.notify()
            async with database.session() as session:
                await forget(session)
        total = found if total is None else total.with_next(found)
        if all(entry.at <= clock() - _SETTLED for entry in total.incomplete):
            return total
        await asyncio.sleep(_POLL_SECONDS)


async def _erase_again(
    database: Database, rows: Collection[RowIdentity], clock: Callable[[], datetime]
) -> None:
    async def attempt(number: int) -> None:
        queued = must_queue(number)
        async with database.session() as session, session.transaction(queued=queued):
            users = await session.execute(users_to_write({row.user_id for row in rows}, {}))
            due = [u for u in users if RowIdentity.of(u) in rows and not u.erased_at]
            service = UserService(session, REPLAY, clock=clock)
            # Not in one batch: an erasure redacts the stored events, also those of the deletion.
            if kept := [user.id for user in due if user.status is not UserStatus.DELETED]:
                await service.execute(
                    [Transition(action=UserAction.DELETE, user_id=user_id) for user_id in kept]
                )
            if due:
                await service.execute(
                    [Erase(user_id=u.id, confirm_username=None, reason=_REASON) for u in due]
                )

    await retry_transaction(attempt, Write())


async def _is_erased(session: Session, rows: Collection[RowIdentity]) -> dict[RowIdentity, bool]:
    """Return whether each row is erased, without those that the database does not have."""
    found = await session.execute(identities_of({row.user_id for row in rows}))
    return {RowIdentity.of(user): user.erased_at is not None for user in found}
