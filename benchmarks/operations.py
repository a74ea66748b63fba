"""The measured operations, and the expected answers.

All requests of an operation have the same document. The variables differ, if there are any.
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
    """`name` is its value for --only. Each request reads this number of `users`.

    `expect` is the expected answer of a read. A write has none, and is checked in the database.
    """

    name: str
    title: str
    ask: Callable[[Dialect, Keys], Request]
    expect: Callable[[Truth, Keys], Awaitable[Answer]] | None = None
    users: int = 0
    distinct: int = 1

    def keys(self) -> Iterator[Keys]:
        """Yield the keys of each distinct request. They are the same for every server."""
        chance = random.Random(_SEED)  # noqa: S311 - not used for security
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
