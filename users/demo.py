"""Believable users with believable histories, for a directory that has something to explore."""

import random
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from faker import Faker
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import Database
from db.models import ActorKind, User
from db.statements import users_count
from users.events import Actor
from users.fields import UserFields
from users.lifecycle import UserAction
from users.operations import Create, Operation, Refused, Result, StatusAction, Transition, Update
from users.policy import EVERY_SCOPE, Caller
from users.service import MAX_OPERATIONS, UserService, now

_LOCALES = ["en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "pl_PL", "pt_BR", "sv_SE", "tr_TR"]
_DOMAINS = ["example.com", "example.net", "example.org"]
_YEARS = timedelta(days=3 * 365)
_Dated = tuple[datetime, Operation]
_DEMO = Caller(Actor(ActorKind.SYSTEM, label="roster demo"), EVERY_SCOPE)


@dataclass(frozen=True, slots=True)
class _Life:
    """A user to be, and when each thing happened to them."""

    fields: UserFields
    new_name: str
    begins: datetime
    renamed: datetime | None
    deactivated: datetime | None
    reactivated: datetime | None
    deleted: datetime | None


async def populate(database: Database, count: int) -> AsyncIterator[int]:
    """Add `count` users in batches, and tell after each how many it added."""
    async with database.session() as session:
        existing = (await session.execute(users_count(User.id > 0))).scalar_one()
    # Seeded by what is there: the same on every empty database, others on the next run.
    lives = list(_lives(count, random.Random(existing)))  # noqa: S311 - no secret is drawn
    for start in range(0, count, MAX_OPERATIONS):
        batch = lives[start : start + MAX_OPERATIONS]
        async with database.session() as session, database.transaction(session):
            await _live(session, batch)
        yield len(batch)
    await database.notify()


async def _live(session: AsyncSession, lives: Sequence[_Life]) -> None:
    """Let a batch of users live, each kind of thing that happens to them for all at once."""
    ids = await _begin(session, lives)

    def move(action: StatusAction, moment: str, reason: str) -> Iterator[_Dated]:
        for user_id, life in zip(ids, lives, strict=True):
            if at := getattr(life, moment):
                yield at, Transition(action=action, user_id=user_id, reason=reason)

    renamed = (
        (life.renamed, Update(user_id=user_id, fields={"display_name": life.new_name}))
        for user_id, life in zip(ids, lives, strict=True)
        if life.renamed
    )
    for happenings in (
        renamed,
        move(UserAction.DEACTIVATE, "deactivated", "On parental leave"),
        move(UserAction.REACTIVATE, "reactivated", "Back at work"),
        move(UserAction.DELETE, "deleted", "Left the company"),
    ):
        await _carry_out(session, list(happenings))


async def _begin(session: AsyncSession, lives: Sequence[_Life]) -> list[int]:
    """Add the users; where a name is taken, as people do, with a number behind it."""
    ids: dict[int, int] = {}
    for number in range(1, 1_000):
        waiting = [n for n in range(len(lives)) if n not in ids]
        if not waiting:
            return [ids[n] for n in range(len(lives))]
        asked = [(lives[n].begins, _creation(lives[n].fields, number)) for n in waiting]
        for n, result in zip(waiting, await _carry_out(session, asked), strict=True):
            if result.user:
                ids[n] = result.user.id
    raise RuntimeError("a thousand users share a name")


def _creation(fields: UserFields, number: int) -> Create:
    suffix = "" if number == 1 else str(number)
    local, _, domain = str(fields["email"]).partition("@")
    numbered: UserFields = {
        "username": f"{fields['username']}{suffix}",
        "email": f"{local}{suffix}@{domain}",
    }
    return Create(fields=fields | numbered)


async def _carry_out(session: AsyncSession, asked: Sequence[_Dated]) -> Sequence[Result]:
    moments = (at for at, _ in asked)
    service = UserService(session, _DEMO, clock=moments.__next__)
    try:
        answer = await service.carry_out([operation for _, operation in asked], atomic=False)
    except Refused as refused:
        return refused.results
    return answer.results


def _lives(count: int, chance: random.Random) -> Iterator[_Life]:
    faker = Faker(_LOCALES)
    faker.seed_instance(chance.random())
    today = now()
    for begins in sorted(today - _YEARS * chance.random() for _ in range(count)):
        first, last = faker.first_name(), faker.last_name()
        deactivated = _later(chance, begins, today, likely=0.12)
        yield _Life(
            fields=UserFields(
                username=f"{_plain(first, keep_accents=True)}.{_plain(last, keep_accents=True)}",
                email=f"{_plain(first)}.{_plain(last)}@{chance.choice(_DOMAINS)}",
                display_name=f"{first} {last}",
            ),
            new_name=f"{first} {faker.last_name()}",
            begins=begins,
            renamed=_later(chance, begins, deactivated or today, likely=0.1),
            deactivated=deactivated,
            reactivated=deactivated and _later(chance, deactivated, today, likely=0.4),
            deleted=None if deactivated else _later(chance, begins, today, likely=0.04),
        )


def _later(
    chance: random.Random, after: datetime, before: datetime, *, likely: float
) -> datetime | None:
    if chance.random() > likely:
        return None
    return after + (before - after) * chance.random()


def _plain(name: str, *, keep_accents: bool = False) -> str:
    """Give a name as it stands in a username or an address: small, without spaces."""
    lowered = name.lower()
    if not keep_accents:
        lowered = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    return "".join(c for c in unicodedata.normalize("NFC", lowered) if c.isalnum()) or "user"
