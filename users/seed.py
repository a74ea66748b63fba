"""Believable users with believable histories, for a directory that has something to explore."""

import random
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Final

from faker import Faker

from db.engine import Database
from db.models import ActorKind, User
from db.session import Session
from db.statements.users import users_count
from users.clock import now
from users.commands import (
    MAX_COMMANDS,
    Command,
    CommandsRejected,
    Create,
    StatusAction,
    Transition,
    Update,
)
from users.lifecycle import UserAction
from users.policy import EVERY_SCOPE, Caller
from users.recorder import Actor
from users.service import UserService

_LOCALES = ["en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "pl_PL", "pt_BR", "sv_SE", "tr_TR"]
_DOMAINS = ["example.com", "example.net", "example.org"]
_YEARS = timedelta(days=3 * 365)
# What happens to a user happens so soon after the last: what is yet to come for all of them is
# kept in memory, and is a twentieth of the users at any time.
_LONGEST_PAUSE: Final = timedelta(days=120)
_REASONS: Final[dict[StatusAction, str]] = {
    UserAction.DEACTIVATE: "On parental leave",
    UserAction.REACTIVATE: "Back at work",
    UserAction.DELETE: "Left the company",
}
_DEMO = Caller(Actor(ActorKind.SYSTEM, label="roster demo"), EVERY_SCOPE)


@dataclass(slots=True)
class _Person:
    """A user to be; `user_id` is known once they are written."""

    first: str
    last: str
    domain: str
    number: int = 1  # behind the name, if others have it
    user_id: int | None = None

    def creation(self) -> Create:
        suffix = "" if self.number == 1 else str(self.number)
        username = f"{_plain(self.first, keep_accents=True)}.{_plain(self.last, keep_accents=True)}"
        local = f"{_plain(self.first)}.{_plain(self.last)}"
        return Create(
            fields={
                "username": f"{username}{suffix}",
                "email": f"{local}{suffix}@{self.domain}",
                "display_name": f"{self.first} {self.last}",
            }
        )


@dataclass(frozen=True, slots=True)
class _Happening:
    """What happens to a person: their creation, a new name, or a new status."""

    at: datetime
    person: _Person
    new_name: str | None = None
    action: StatusAction | None = None

    @property
    def needs_id(self) -> bool:
        return self.new_name is not None or self.action is not None

    def command(self) -> Command:
        user_id = self.person.user_id
        if self.new_name is not None:
            return Update(user_id=user_id, fields={"display_name": self.new_name})
        if self.action is not None:
            return Transition(action=self.action, user_id=user_id, reason=_REASONS[self.action])
        return self.person.creation()


async def populate(database: Database, number: int) -> AsyncIterator[int]:
    """Add users in batches of a transaction each, and yield how many each batch has added.

    Events are written in the order in which they happened. Memory does not grow with the number
    but by what is yet to happen to the users that are written.
    """
    async with database.session() as session:
        existing = (await session.execute(users_count(User.id > 0))).scalar_one()
    # Seeded by what is there: the same on every empty database, others on the next run.
    chance = random.Random(existing)  # noqa: S311 - no secret is drawn
    for batch in _batches(_happenings(number, chance)):
        async with database.session() as session, session.transaction():
            await _write(session, batch)
        yield sum(not happening.needs_id for happening in batch)
    await database.notify()


def _batches(happenings: Iterator[_Happening]) -> Iterator[list[_Happening]]:
    """Split them so that a user is written before the batch in which something happens to them."""
    batch: list[_Happening] = []
    for happening in happenings:
        is_early = happening.needs_id and happening.person.user_id is None
        if batch and (is_early or len(batch) == MAX_COMMANDS):
            yield batch
            batch = []
        batch.append(happening)
    if batch:
        yield batch


async def _write(session: Session, batch: Sequence[_Happening]) -> None:
    """Write a batch; who has the name of a user that was there before gets a number behind it."""
    while True:
        moments = (happening.at for happening in batch)
        service = UserService(session, _DEMO, clock=moments.__next__)
        try:
            answer = await service.execute([happening.command() for happening in batch])
        except CommandsRejected as refused:
            for happening, result in zip(batch, refused.results, strict=True):
                happening.person.number += bool(result.violations)
        else:
            break
    for happening, result in zip(batch, answer.results, strict=True):
        assert result.user
        happening.person.user_id = result.user.id


def _happenings(number: int, chance: random.Random) -> Iterator[_Happening]:
    """Yield what happens to so many users, in the order of time."""
    faker = Faker(_LOCALES)
    faker.seed_instance(chance.random())
    today = now()
    names: Counter[tuple[str, str]] = Counter()
    upcoming: list[tuple[datetime, int, _Happening]] = []
    order = count()  # breaks ties
    for n in range(number):
        begins = today - _YEARS + _YEARS * ((n + chance.random()) / number)
        while upcoming and upcoming[0][0] <= begins:
            yield heappop(upcoming)[-1]
        person = _Person(faker.first_name(), faker.last_name(), chance.choice(_DOMAINS))
        name = (_plain(person.first), _plain(person.last))
        names[name] += 1
        person.number = names[name]
        yield _Happening(begins, person)
        for happening in _life(person, begins, chance, faker):
            if happening.at < today:
                heappush(upcoming, (happening.at, next(order), happening))
    while upcoming:
        yield heappop(upcoming)[-1]


def _life(
    person: _Person, begins: datetime, chance: random.Random, faker: Faker
) -> Iterator[_Happening]:
    """Yield what happens to a person after their creation."""
    if chance.random() < 0.1:  # noqa: PLR2004 - the share of users
        new_name = f"{person.first} {faker.last_name()}"
        yield _Happening(_later(chance, begins), person, new_name=new_name)
    match chance.random():
        case share if share < 0.04:  # noqa: PLR2004
            # After a new name: a deleted user cannot be given one.
            at = _later(chance, begins + _LONGEST_PAUSE)
            yield _Happening(at, person, action=UserAction.DELETE)
        case share if share < 0.16:  # noqa: PLR2004
            leaves = _later(chance, begins)
            yield _Happening(leaves, person, action=UserAction.DEACTIVATE)
            if chance.random() < 0.4:  # noqa: PLR2004
                yield _Happening(_later(chance, leaves), person, action=UserAction.REACTIVATE)


def _later(chance: random.Random, after: datetime) -> datetime:
    return after + _LONGEST_PAUSE * chance.random()


def _plain(name: str, *, keep_accents: bool = False) -> str:
    """Return a name as a username or an address has it: in lower case, without spaces."""
    lowered = name.lower()
    if not keep_accents:
        lowered = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    return "".join(c for c in unicodedata.normalize("NFC", lowered) if c.isalnum()) or "user"
