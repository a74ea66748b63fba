"""The search for users: the conditions of each rank, and pages in the order of the rank."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    String,
    TypeDecorator,
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.functions import FunctionElement

from db.column_types import LAST_TEXT, nulls_last
from db.filters import Condition, contains, of_a_value
from db.models import User
from db.pagination import REACH, Listing, Sort, Window

EXACT, PREFIX, WORD, SUBSTRING = RANKS = range(4)
_SEARCHED: Final = (User.username_key, User.email_key, User.display_name_key)
_TRIGRAM: Final = 3
_BEFORE_WORDS: Final = " ._@+'(-"
# Symbols such as emoji, and scripts without spaces between words: Thai to Lao, Burmese, Khmer,
# Chinese, Japanese and Korean.
_UNSPACED: Final = re.compile(
    "[\u2190-\u2bff\U0001f000-\U0001faff"
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_CLASS: Final = f"[{_BEFORE_WORDS}]"
_BY_ID: Final = (Sort(User.id),)
_Column = InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Search:
    """The words of a search text, and the whole text. Each has alternative forms.

    A word with at least three letters or digits must be contained in a key of the username, the
    e-mail address or the display name. A shorter one must begin a word of a key; in a script
    without spaces, or with an emoji, it can be anywhere. Any other text without letters and digits
    must begin a key.

    The rank is EXACT if the whole text is a key, PREFIX if a key begins with it, WORD if each word
    begins a word of a key, and SUBSTRING otherwise. Each rank's condition implies that of the next.
    """

    words: Sequence[Sequence[str]]
    whole: Sequence[str]

    @property
    def ranks(self) -> Sequence[int]:
        """The ranks that a match can have."""
        if any(_is_found_inside(form) for forms in self.words for form in forms):
            return RANKS
        return (EXACT, PREFIX, WORD) if any(map(_letters, self.whole)) else (EXACT, PREFIX)

    def matches(self) -> Condition:
        return self._reaches(self.ranks[-1])

    def has_rank(self, rank: int) -> Condition:
        better = [not_(self._reaches(r)) for r in range(rank)]
        return and_(self._reaches(rank), *better)

    def rank(self) -> ColumnElement[int]:
        reached = [(self._reaches(r), literal(r, Integer)) for r in self.ranks[:-1]]
        return case(*reached, else_=literal(self.ranks[-1], Integer))

    def _reaches(self, rank: int) -> Condition:
        if rank == EXACT:
            return _any(_is, self.whole)
        if rank == PREFIX:
            return _any(_begins, self.whole)
        test = _begins_a_word if rank == WORD else _matches
        return and_(*(_any(test, word) for word in self.words))


def _letters(text: str) -> int:
    """Return the number of letters and digits."""
    return sum(map(str.isalnum, text))


def _is_found_inside(word: str) -> bool:
    return _letters(word) >= _TRIGRAM or _UNSPACED.search(word) is not None


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


def _matches(column: _Column, word: str) -> Condition:
    if not _is_found_inside(word):
        return _begins_a_word(column, word)
    found = contains(column, word)
    return found if _letters(word) >= _TRIGRAM else _without_index(found)


def _begins_a_word(column: _Column, word: str) -> Condition:
    begins = of_a_value(column, _BeginsAWord(column, literal(word, _Beginning())))
    # LIKE takes a fraction of the time, and excludes most rows of a scan.
    begins = and_(_without_index(contains(column, word)), begins)
    return begins if _letters(word) else _without_index(begins)


class _BeginsAWord(FunctionElement[bool]):
    """True if a text of a column begins a word: a regular expression, or GLOB on SQLite.

    PostgreSQL looks up the expression's trigrams, which include the beginnings of words, in one
    scan of the index. SQLite has no regular expressions.
    """

    type = Boolean()
    inherit_cache = True


class _Beginning(TypeDecorator[str]):
    """A text as the pattern of `_BeginsAWord`."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str:
        if dialect.name == "sqlite":
            return f"*{_CLASS}" + re.sub(r"([*?\[])", r"[\1]", value or "") + "*"
        return f"(?:^|{_CLASS})" + re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", value or "")


@compiles(_BeginsAWord, "postgresql")
def _matches_expression(element: _BeginsAWord, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} ~ {pattern}"


@compiles(_BeginsAWord, "sqlite")
def _matches_glob(element: _BeginsAWord, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(part, **options) for part in element.clauses)
    return f"(' ' || {column}) GLOB {pattern}"


def _without_index(condition: Condition) -> Condition:
    # PostgreSQL would read the whole trigram index for a text without a trigram.
    return case((condition, true()), else_=false())


@dataclass(frozen=True, slots=True)
class RankedListing:
    """The users that match a search, best first and then by id. A position is a rank and an id.

    `dense` tells how to read a page. If the first `reach` users contain more matches
    than a page, the matches of one rank after another are read, each in the order of the id, until
    the page is full: most matches are never sorted. Otherwise all matches are ranked and sorted.
    """

    columns: Sequence[Column[Any]]
    search: Search
    within: Condition
    conditions: Sequence[Condition]
    reach: int = REACH

    def dense(self, window: Window) -> Select[Any] | None:
        where = and_(self.search.matches(), *self.conditions)
        listing = Listing([User.__table__.c.id], _BY_ID, self.within, where, reach=self.reach)
        return listing.near_page(Window(window.limit))

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
        ranks = [rank for rank in self.search.ranks if first <= rank <= last]
        for rank in reversed(ranks) if window.from_end else ranks:
            columns = [*self.columns, literal(rank, Integer).label("rank")]
            where = and_(self.search.has_rank(rank), *self.conditions)
            yield (
                Listing(columns, _BY_ID, self.within, where, reach=self.reach),
                replace(
                    window,
                    after=(after,) if rank == first and after else None,
                    before=(before,) if rank == last and before else None,
                ),
            )


def _integer(value: int) -> ColumnElement[int]:
    return literal(value, User.id.type)
