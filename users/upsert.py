"""Syncing from another system: write a user by a unique key, whether they are there or not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from db.filters import NOT_DELETED
from db.models import User
from users import identity
from users.errors import ErrorCode, FieldProblem, Problem, Refused, WrongStatus
from users.fields import UserFields
from users.service import UserService, Written

_ATTEMPTS = 5

KeyName = Literal["username", "email", "external_id"]
_KEYS: Mapping[KeyName, tuple[InstrumentedAttribute[Any], Callable[[str], str | None]]] = {
    "username": (User.username_key, identity.username_key),
    "email": (User.email_key, identity.email_key),
    "external_id": (User.external_id, identity.external_id_key),
}


async def upsert_by_id(
    users: UserService,
    user_id: int | None,
    fields: UserFields,
    *,
    expected_version: int | None,
    name: Literal["id", "database_id"],
) -> Written:
    """Update the user that has the id: nobody can be created by one."""
    try:
        return await users.update(user_id, fields, expected_version=expected_version)
    except Refused as refused:
        raise Refused([_placed(p, "id", f"by.{name}") for p in refused.problems]) from None


async def upsert_by_key(
    users: UserService,
    name: KeyName,
    text: str,
    fields: UserFields,
    *,
    expected_version: int | None = None,
) -> Written:
    """Update the user that has the unique value, or create one with it.

    Two at once make one user: who comes second finds the value taken, looks again and updates.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        user_id = await _find(users, name, text)
        try:
            if user_id is not None:
                return await users.update(user_id, fields, expected_version=expected_version)
            return await _create(users, name, text, fields, expected_version)
        except Refused as refused:
            if attempt == _ATTEMPTS or not _overtaken(refused, name, user_id):
                raise
    raise AssertionError


async def _find(users: UserService, name: KeyName, text: str) -> int | None:
    column, key_of = _KEYS[name]
    if (key := key_of(text)) is None:
        return None
    return await users.session.scalar(select(User.id).where(column == key, NOT_DELETED))


async def _create(
    users: UserService,
    name: KeyName,
    text: str,
    fields: UserFields,
    expected_version: int | None,
) -> Written:
    if expected_version is not None:
        message = "There is no such user, and so no version of it."
        raise Refused([FieldProblem(code=ErrorCode.NOT_FOUND, message=message, field="by")])
    whole = {"username": None, "email": None, name: text} | fields
    try:
        return await users.create(cast("UserFields", whole))
    except Refused as refused:
        if name in fields:
            raise
        raise Refused([_placed(p, name, f"by.{name}") for p in refused.problems]) from None


def _placed(problem: Problem, field: str, place: str) -> Problem:
    return replace(problem, field=place) if problem.field == field else problem


def _overtaken(refused: Refused, name: KeyName, user_id: int | None) -> bool:
    """Tell whether somebody created or deleted the user between the look and the write."""
    if user_id is not None:
        return any(isinstance(problem, WrongStatus) for problem in refused.problems)
    places = {name, f"by.{name}"}
    return any(p.code is ErrorCode.TAKEN and p.field in places for p in refused.problems)
