"""Unique values: the database's indexes decide who has one, and every taken one is named."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import is_unique_violation
from db.models import User, UserStatus
from db.statements import new_user, taken_keys
from users.errors import ErrorCode, FieldProblem, Refused
from users.fields import Columns

_ATTEMPTS = 5
_KEY_COLUMNS = {"username": "username_key", "email": "email_key", "external_id": "external_id"}
_MESSAGES = {
    "username": "Another user has this username.",
    "email": "Another user has this e-mail address.",
    "external_id": "Another user has this external id.",
}


class ConflictThatLasts(Exception):
    """A unique value was refused again and again, and each time nobody had it."""


async def insert_user(session: AsyncSession, columns: Columns) -> User:
    """Insert a user, or raise `Refused` with all that is taken."""
    for _ in range(_ATTEMPTS):
        user: User | None = (await session.execute(new_user(columns))).scalar_one_or_none()
        if user is not None:
            return user
        await _refuse_taken(session, columns)
        # Whoever was in the way has gone since: another try.
    raise ConflictThatLasts


async def update_user(session: AsyncSession, user: User, columns: Columns) -> None:
    """Write columns of a user that `session` has locked, or raise `Refused` with what is taken."""
    if not _can_collide(user, columns):
        _assign(user, columns)
        await session.flush()
        return
    for _ in range(_ATTEMPTS):
        try:
            # The savepoint outlives a refusal, so that the transaction can still be asked why.
            async with session.begin_nested():
                _assign(user, columns)
                await session.flush()
        except IntegrityError as error:
            if not is_unique_violation(error):
                raise
        else:
            return
        await session.refresh(user)
        kept = {column: getattr(user, column) for column in _KEY_COLUMNS.values()}
        await _refuse_taken(session, kept | columns, user.id)
    raise ConflictThatLasts


async def taken(
    session: AsyncSession, columns: Columns, except_id: int | None = None
) -> list[FieldProblem]:
    """List every unique value among `columns` that another user has."""
    keys = {field: columns.get(column) for field, column in _KEY_COLUMNS.items()}
    if not any(keys.values()):
        return []
    statement = taken_keys(keys["username"], keys["email"], keys["external_id"], except_id)
    held = (await session.execute(statement)).mappings().all()
    return [
        FieldProblem(code=ErrorCode.TAKEN, message=_MESSAGES[field], field=field)
        for field, column in _KEY_COLUMNS.items()
        if keys[field] is not None and any(row[column] == keys[field] for row in held)
    ]


async def _refuse_taken(
    session: AsyncSession, columns: Columns, except_id: int | None = None
) -> None:
    if problems := await taken(session, columns, except_id):
        raise Refused(problems)


def _can_collide(user: User, columns: Columns) -> bool:
    """Tell whether a unique value changes, or its owner stops being deleted."""
    restored = user.status is UserStatus.DELETED and "status" in columns
    return restored or any(column in columns for column in _KEY_COLUMNS.values())


def _assign(user: User, columns: Columns) -> None:
    for name, value in columns.items():
        setattr(user, name, value)
