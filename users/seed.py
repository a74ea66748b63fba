"""Creates realistic users with histories, for demos."""

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
# The maximum time between two events of a user. Future events are kept in memory. With this limit,
# they are about a twentieth of the users.
_LONGEST_PAUSE: Final = timedelta(days=120)
_REASONS: Final[dict[StatusAction, str]] = {
    UserAction.DEACTIVATE: "On parental leave",
    UserAction.REACTIVATE: "Back at work",
    UserAction.DELETE: "Left the company",
}
_DEMO = Caller(Actor(ActorKind.SYSTEM, label="roster demo"), EVERY_SCOPE)


@dataclass(slots=True)
class _Person:
    """A person to create as a user. `user_id` is set when the user is written."""

    first: str
    last: str
    domain: str
    number: int = 1  # appended to the name if others have it
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
    """An event in the life of a person: their creation, a new name, or a new status."""

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
    """Add users in batches, one transaction each. Yields the number of users in each batch.

    Events are written in chronological order. Only future events of written users are kept in
    memory.
    """
    async with database.session() as session:
        existing = (await session.execute(users_count(User.id > 0))).scalar_one()
    # The seed is the number of users: every empty database gets the same users, and the next run
    # adds others.
    chance = random.Random(existing)  # noqa: S311 - not used for secrets
    for batch in _batches(_happenings(number, chance)):
        async with database.session() as session, session.transaction():
            await _write(session, batch)
        yield sum(not happening.needs_id for happening in batch)
    await database.notify()


def _batches(happenings: Iterator[_Happening]) -> Iterator[list[_Happening]]:
    """Split events so that each user is written in an earlier batch than their later events."""
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
    """Write a batch. A person whose name is taken gets the next number as a suffix."""
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
    # Events are yielded in chronological order.
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
    if chance.random() < 0.1:  # noqa: PLR2004 - the share of users
        new_name = f"{person.first} {faker.last_name()}"
        yield _Happening(_later(chance, begins), person, new_name=new_name)
    match chance.random():
        case share if share < 0.04:  # noqa: PLR2004
            # Later than a new name, because a deleted user cannot be renamed.
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
    """Return a name for a username or address: lower case, letters and digits only."""
    lowered = name.lower()
    if not keep_accents:
        lowered = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    return "".join(c for c in unicodedata.normalize("NFC", lowered) if c.isalnum()) or "user"
