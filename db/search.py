"""The search for users: the conditions of each rank, and pages in the order of the rank."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    false,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute

from db.column_types import LAST_TEXT, nulls_last
from db.filters import Condition, contains, of_a_value, starts_with
from db.models import User
from db.pagination import Listing, Sort, Window

EXACT, PREFIX, WORD, SUBSTRING = RANKS = range(4)
_SEARCHED: Final = (User.username_key, User.email_key, User.display_name_key)
_TRIGRAM: Final = 3
_BEFORE_WORDS: Final = " .-_@+'("
_BY_ID: Final = (Sort(User.id),)
_Column = InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Search:
    """The words of a search text, and the whole text. Each has alternative forms.

    Each word must be contained in a key of the username, the e-mail address or the display name.
    The rank is EXACT if the whole text is a key, PREFIX if a key begins with it, WORD if each word
    begins a word of a key, and SUBSTRING otherwise. Each rank's condition implies that of the next.
    """

    words: Sequence[Sequence[str]]
    whole: Sequence[str]

    def matches(self) -> Condition:
        return and_(*(_any(_contains, word) for word in self.words))

    def has_rank(self, rank: int) -> Condition:
        better = [not_(self._reaches(r)) for r in range(rank)]
        return and_(self._reaches(rank), *better)

    def rank(self) -> ColumnElement[int]:
        reached = [(self._reaches(r), literal(r, Integer)) for r in (EXACT, PREFIX, WORD)]
        return case(*reached, else_=literal(SUBSTRING, Integer))

    def _reaches(self, rank: int) -> Condition:
        if rank == EXACT:
            return _any(_is, self.whole)
        if rank == PREFIX:
            return _any(_begins, self.whole)
        words = self._begin_words() if rank == WORD else ()
        return and_(self.matches(), *words)

    def _begin_words(self) -> Iterator[Condition]:
        # `matches` uses the trigrams of long words. If there are none, the beginning of the longest
        # word has trigrams, because they include the start of a word.
        longest = max(self.words, key=lambda forms: min(map(len, forms)))
        indexed = min(map(len, longest)) < _TRIGRAM
        for word in self.words:
            begins = _any(_begins_a_word, word)
            yield begins if indexed and word is longest else _without_index(begins)


def _any(test: Callable[[_Column, str], Condition], forms: Sequence[str]) -> Condition:
    return or_(*(test(column, form) for column in _SEARCHED for form in forms))


def _value(column: _Column) -> Any:
    # The display name is indexed as this expression.
    return nulls_last(column) if column is User.display_name_key else column


def _is(column: _Column, text: str) -> Condition:
    return of_a_value(column, _value(column) == text)


def _begins(column: _Column, text: str) -> Condition:
    # A range, because an index supports LIKE only if the pattern is known to the planner.
    value = _value(column)
    return of_a_value(column, and_(value >= text, value < text + LAST_TEXT))


def _contains(column: _Column, text: str) -> Condition:
    found = contains(column, text)
    return found if len(text) >= _TRIGRAM else _without_index(found)


def _begins_a_word(column: _Column, text: str) -> Condition:
    inside = [contains(column, f"{before}{text}") for before in _BEFORE_WORDS]
    return or_(starts_with(column, text), *inside)


def _without_index(condition: Condition) -> Condition:
    # PostgreSQL would read the whole trigram index for a text without a trigram.
    return case((condition, true()), else_=false())


@dataclass(frozen=True, slots=True)
class RankedListing:
    """The users that match a search, best first and then by id. A position is a rank and an id.

    `dense` tells how to read a page. If the first `pagination.REACH` users contain more matches
    than a page, the matches of one rank after another are read, each in the order of the id, until
    the page is full: most matches are never sorted. Otherwise all matches are ranked and sorted.
    """

    columns: Sequence[Column[Any]]
    search: Search
    within: Condition
    conditions: Sequence[Condition]

    def dense(self, window: Window) -> Select[Any] | None:
        where = and_(self.search.matches(), *self.conditions)
        return Listing([User.__table__.c.id], _BY_ID, self.within, where).near_page(
            Window(window.limit)
        )

    def sorted_page(self, window: Window) -> Select[Any]:
        columns = {c.key: c for c in (*self.columns, User.__table__.c.id)}
        where = and_(self.within, self.search.matches(), *self.conditions)
        ranked = select(*columns.values(), self.search.rank().label("rank")).where(where)
        found = ranked.offset(0).subquery()
        place = tuple_(found.c.rank, found.c.id)
        page = select(*found.c).limit(window.limit + 1)
        if window.after is not None:
            page = page.where(place > tuple_(*map(_integer, window.after)))
        if window.before is not None:
            page = page.where(place < tuple_(*map(_integer, window.before)))
        if window.from_end:
            return page.order_by(found.c.rank.desc(), found.c.id.desc())
        return page.order_by(found.c.rank, found.c.id)

    def ranks(self, window: Window) -> Iterator[tuple[Listing, Window]]:
        """Yield the list of each rank in the window, in the order in which the page is filled."""
        first, after = window.after or (EXACT, None)
        last, before = window.before or (SUBSTRING, None)
        ranks = range(first, last + 1)
        for rank in reversed(ranks) if window.from_end else ranks:
            columns = [*self.columns, literal(rank, Integer).label("rank")]
            where = and_(self.search.has_rank(rank), *self.conditions)
            yield (
                Listing(columns, _BY_ID, self.within, where),
                replace(
                    window,
                    after=(after,) if rank == first and after else None,
                    before=(before,) if rank == last and before else None,
                ),
            )


def _integer(value: int) -> ColumnElement[int]:
    return literal(value, User.id.type)
