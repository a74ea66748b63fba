"""The search for users: the conditions of each rank, and pages in the order of the rank."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    literal,
    not_,
    select,
    tuple_,
)

from db.filters import (
    Condition,
    count_letters,
)
from db.models import User
from db.pagination import REACH, Listing, Sort, Window
from db.search_terms import (
    any_form,
    begins_a_key,
    begins_a_word,
    is_a_key,
    is_found_inside,
    matches,
)

EXACT, PREFIX, WORD, SUBSTRING = RANKS = range(4)
_BY_ID: Final = (Sort(User.id),)


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
        if any(is_found_inside(form) for forms in self.words for form in forms):
            return RANKS
        return (EXACT, PREFIX, WORD) if any(map(count_letters, self.whole)) else (EXACT, PREFIX)

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
            return any_form(is_a_key, self.whole)
        if rank == PREFIX:
            return any_form(begins_a_key, self.whole)
        test = begins_a_word if rank == WORD else matches
        return and_(*(any_form(test, word) for word in self.words))


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
