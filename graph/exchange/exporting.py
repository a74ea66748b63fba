"""Exports users in pages, in the order of their ids, with constant memory."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from sqlalchemy import select

from db.filters import UserFilter
from db.models import User
from db.session import Session
from db.statements.users import USER_COLUMNS
from db.time_slices import pause_if_due
from graph.exchange.rows import ExportedUser

PAGE: Final = 1_000  # users in one statement
PORTION: Final = 100  # users that are converted in one step

_COLUMNS: Final = tuple(column for column in USER_COLUMNS if column.key != "is_active")
EVERYBODY: Final = UserFilter()  # who is not deleted


async def export_users(
    session: Session, filter: UserFilter = EVERYBODY
) -> AsyncGenerator[Sequence[ExportedUser], None]:
    """Yield the matching users in portions, each user at most once.

    Pages are read in autocommit when they are requested: between two of them, neither a transaction
    nor a connection is held. A user who is changed meanwhile is exported in the old or the new
    state.
    """
    page = select(*_COLUMNS).where(filter.where()).order_by(User.id).limit(PAGE)
    last = 0
    while True:
        rows = (await session.execute(page.where(User.id > last))).all()
        for start in range(0, len(rows), PORTION):
            await pause_if_due()
            yield [ExportedUser.model_validate(row) for row in rows[start : start + PORTION]]
        if len(rows) < PAGE:
            return
        last = rows[-1].id
