"""What the servers are asked, and what has to come back.

Every request of an operation has the same document; the variables differ where there are any.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.dialects import ALIASES, MARK, Dialect, Request
from benchmarks.sizes import share
from benchmarks.truth import Answer, Truth

PEOPLE: Final = share(100_000, 1_000)
_SEED = 5

Keys = list[int]


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` is what --only takes; each request asks for so many `users`.

    `expect` is what a read has to answer; a write has none, and is looked at in the database.
    """

    name: str
    title: str
    ask: Callable[[Dialect, Keys], Request]
    expect: Callable[[Truth, Keys], Awaitable[Answer]] | None = None
    users: int = 0
    distinct: int = 1

    def keys(self) -> Iterator[Keys]:
        """Choose whom each of the distinct requests asks for: the same for every server."""
        chance = random.Random(_SEED)  # noqa: S311 - nobody is kept from guessing
        for _ in range(self.distinct):
            yield chance.sample(range(1, PEOPLE + 1), self.users)

    def requests(self, dialect: Dialect) -> list[Request]:
        return [self.ask(dialect, keys) for keys in self.keys()]


OPERATIONS: Final = (
    Operation(
        "user",
        "user by id",
        lambda d, keys: d.look_up(keys[0]),
        Truth.user,
        users=1,
        distinct=20_000,
    ),
    Operation("list20", "list 20", lambda d, _: d.list(20), lambda truth, _: truth.page(20)),
    Operation("list100", "list 100", lambda d, _: d.list(100), lambda truth, _: truth.page(100)),
    Operation(
        "aliases",
        f"{ALIASES} aliases",
        lambda d, keys: d.look_up_many(keys),
        Truth.aliases,
        users=ALIASES,
        distinct=2_000,
    ),
    Operation("create", "createUser", lambda d, _: d.create(f"new{MARK}")),
)
