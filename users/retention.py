"""Erases deleted users whose retention has ended, and deletes expired idempotency keys."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

import structlog

from db.engine import Database
from db.error_summary import summarize
from db.models import ActorKind
from db.outcome import Write
from db.session import Session
from db.statements.idempotency import expired_keys
from db.statements.users import due_users
from users.clock import now
from users.commands import Erase
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.retry import must_queue, retry_transaction
from users.service import UserService

log = structlog.get_logger("roster")

_BATCH: Final = 100
RETENTION = Caller(Actor(ActorKind.SYSTEM, label="roster erase-due"), EVERY_SCOPE)
_REASON = "The date to erase this user has passed."


async def erase_due(database: Database, clock: Callable[[], datetime] = now) -> AsyncIterator[int]:
    """Erase users whose `erase_after` has passed. Yields the size of each batch.

    Each batch is one transaction. Concurrent runs share the work: each skips users that another run
    has locked.
    """

    async def erase(number: int) -> int:
        queued = must_queue(number)
        async with database.session() as session, session.transaction(queued=queued):
            ids = (await session.scalars(due_users(clock(), _BATCH))).all()
            if ids:
                await UserService(session, RETENTION, clock=clock).execute(
                    [Erase(user_id=i, confirm_username=None, reason=_REASON) for i in ids]
                )
            return len(ids)

    while erased := await retry_transaction(erase, Write()):
        yield erased
    async with database.session() as session, session.transaction():
        await session.execute(expired_keys(clock()))
    await database.notify()
    async with database.session() as session:
        await forget(session)


async def forget(session: Session) -> None:
    """Remove erased values from SQLite's write-ahead log. Failures are only logged."""
    try:
        is_forgotten = await session.checkpoint()
    except Exception as error:  # noqa: BLE001 - the users are already erased
        log.warning("what was erased may still be in SQLite's log", cause=summarize(error))
        return
    if not is_forgotten:
        log.warning(
            "erased data is still in SQLite's log, because another connection is reading it"
        )
