"""Comparisons of values in filters."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Any

import strawberry
from sqlalchemy import false, or_
from sqlalchemy.orm import InstrumentedAttribute

from db.filters import (
    Comparison,
    Condition,
    compared,
    contains,
    ends_with,
    is_null,
    none_of,
    one_of,
    starts_with,
)
from graph.api.inputs.bounds import check_length, check_text, storable
from users.identity import part_keys
from users.key_cache import KeyCache
from users.text import fold

Key = Callable[[str], str | None]

# No text of a user is longer. A longer one takes time to fold and matches nothing.
MAX_TEXT = 300


_IS_NULL = (
    "True: the value is missing. False: there is a value. A field that always has a value is never "
    "null."
)


@strawberry.input(
    description="Conditions for a text, regardless of case and Unicode form. All given conditions "
    "must be true. Missing texts are equal to no text."
)
class StringFilter:
    eq: str | None = strawberry.field(default=None, description="Equal to this text.")
    neq: str | None = strawberry.field(default=None, description="Not equal to this text.")
    in_: list[str] | None = strawberry.field(
        name="in", default=None, description="Equal to one of these texts."
    )
    nin: list[str] | None = strawberry.field(
        default=None, description="Equal to none of these texts."
    )
    contains: str | None = strawberry.field(
        default=None, description="Contains this text. There are no wildcards."
    )
    starts_with: str | None = strawberry.field(default=None, description="Begins with this text.")
    ends_with: str | None = strawberry.field(default=None, description="Ends with this text.")
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)

    async def read(
        self, name: str, column: InstrumentedAttribute[Any], key: Key, keys: KeyCache | None
    ) -> AsyncIterator[Condition]:
        """Yield one condition per comparator. `key` converts a whole text to the column's form.

        Without `keys` the texts are only checked, and nothing matches.
        """
        if self.is_null is not None:
            yield is_null(column, expected=self.is_null)
        for operator, texts, build in (
            ("eq", None if self.eq is None else [self.eq], one_of),
            ("in", self.in_, one_of),
            ("neq", None if self.neq is None else [self.neq], none_of),
            ("nin", self.nin, none_of),
        ):
            if texts is not None:
                check_length(f"{name}.{operator}", texts)
                _check_texts(f"{name}.{operator}", texts)
                whole = [] if keys is None else [await _whole(keys, key, t) for t in texts]
                yield build(column, [text for text in whole if storable(text)])
        for operator, part, match in (
            ("contains", self.contains, contains),
            ("startsWith", self.starts_with, starts_with),
            ("endsWith", self.ends_with, ends_with),
        ):
            if part is not None:
                _check_texts(f"{name}.{operator}", [part])
                forms = await keys.get(part_keys, part) if keys and storable(part) else ()
                yield or_(false(), *(match(column, form) for form in forms))


async def _whole(keys: KeyCache, key: Key, text: str) -> str:
    if found := await keys.get(key, text):
        return found
    return await keys.get(fold, text)


def _check_texts(name: str, texts: Sequence[str]) -> None:
    for text in texts:
        check_text(name, text, MAX_TEXT)


@strawberry.input(description="A time range. All given conditions must be true.")
class DateTimeFilter:
    gt: datetime | None = strawberry.field(default=None, description="Later than this time.")
    gte: datetime | None = strawberry.field(default=None, description="This time or later.")
    lt: datetime | None = strawberry.field(default=None, description="Earlier than this time.")
    lte: datetime | None = strawberry.field(default=None, description="This time or earlier.")
    is_null: bool | None = strawberry.field(default=None, description=_IS_NULL)

    def read(self, column: InstrumentedAttribute[Any]) -> Iterator[Condition]:
        if self.is_null is not None:
            yield is_null(column, expected=self.is_null)
        for compare, moment in self.comparisons():
            yield compared(column, compare, moment)

    @property
    def is_empty(self) -> bool:
        return self.is_null is None and not any(True for _ in self.comparisons())

    @property
    def needs_a_time(self) -> bool:
        """Whether rows without a time do not match."""
        return self.is_null is False or any(True for _ in self.comparisons())

    def comparisons(self) -> Iterator[tuple[Comparison, datetime]]:
        for compare, moment in (
            (gt, self.gt),
            (ge, self.gte),
            (lt, self.lt),
            (le, self.lte),
        ):
            if moment is not None:
                yield compare, moment
