"""Exports users in pages, in the order of their ids, with constant memory."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from sqlalchemy import select

from db.engine import Database
from db.filters import NOT_DELETED
from db.models import User
from db.statements.users import user_columns
from graph.exchange.rows import ExportedUser

PAGE: Final = 1_000  # users in one statement

_COLUMNS: Final = user_columns(frozenset(ExportedUser.model_fields))


async def export_users(database: Database) -> AsyncIterator[Sequence[ExportedUser]]:
    """Yield pages of the users that are not deleted.

    Each page is read when it is requested: a user who is changed meanwhile is exported once, in
    the old or the new state.
    """
    page = select(*_COLUMNS).where(NOT_DELETED).order_by(User.id).limit(PAGE)
    last = 0
    while True:
        async with database.session() as session:
            rows = (await session.execute(page.where(User.id > last))).all()
        if rows:
            yield [ExportedUser.model_validate(row) for row in rows]
            last = rows[-1].id
        if len(rows) < PAGE:
            return
