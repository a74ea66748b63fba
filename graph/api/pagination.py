"""Pages of an ordered list, from a connection's arguments to its page info."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from db.pagination import Listing, Window
from db.search import RankedListing
from db.session import Session
from graph.api.cursors import InvalidCursor, Position
from graph.api.errors import InputError

DEFAULT_PAGE = 20
MAX_PAGE = 100
MAX_COUNT = 100_000

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"The number of elements from the start, 0 to {MAX_PAGE}. The default is "
        f"{DEFAULT_PAGE}. Cannot be combined with `last`."
    ),
]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=f"The number of elements from the end, 0 to {MAX_PAGE}, in the order of the "
        "list. Cannot be combined with `first`."
    ),
]
After = Annotated[
    str | None,
    strawberry.argument(
        description="Returns elements after this cursor of the same list. An empty string is the "
        "start."
    ),
]
Before = Annotated[
    str | None,
    strawberry.argument(
        description="Returns elements before this cursor of the same list. An empty string is the "
        "end."
    ),
]
CountLimit = Annotated[
    int,
    strawberry.argument(description=f"The number to stop counting at, 1 to {MAX_COUNT}."),
]

R = TypeVar("R")


def window(
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    decode: Callable[[str], Position],
) -> Window:
    """Return the window of a connection's arguments. Raises InputError if they are invalid."""
    if first is not None and last is not None:
        raise InputError("`first` and `last` cannot be used together.")
    for name, count in (("first", first), ("last", last)):
        if count is not None and not 0 <= count <= MAX_PAGE:
            raise InputError(f"`{name}` is {count}; it must be from 0 to {MAX_PAGE}.")
    try:
        return Window(
            limit=next((n for n in (first, last) if n is not None), DEFAULT_PAGE),
            after=decode(after) if after else None,
            before=decode(before) if before else None,
            from_end=last is not None,
        )
    except InvalidCursor as error:
        raise InputError(str(error), "INVALID_CURSOR") from None


def check_count_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_COUNT:
        raise InputError(f"`limit` is {limit}; it must be from 1 to {MAX_COUNT}.")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """The rows of a window in the list's order, and whether the list continues on either side."""

    rows: Sequence[R]
    has_next: bool
    has_previous: bool

    def reversed(self) -> "Page[R]":
        """Return the page with the same rows in the reversed list."""
        return Page(self.rows[::-1], has_next=self.has_previous, has_previous=self.has_next)


async def read_page(session: Session, listing: Listing, window: Window) -> Page[Any]:
    """Read one page of a list, in at most two statements."""
    return page(await _read_rows(session, listing, window), window)


async def _read_rows(session: Session, listing: Listing, window: Window) -> Sequence[Any]:
    near = listing.near_page(window)
    if near is None:
        whole: Sequence[Any] = (await session.execute(listing.page(window))).all()
        return whole
    rows: Sequence[Any] = (await session.execute(near)).all()
    if len(rows) <= window.limit:
        rows = (await session.execute(listing.far_page(window))).all()
    return rows


async def read_ranked_page(session: Session, listing: RankedListing, window: Window) -> Page[Any]:
    """Read one page of a search in the order of the rank."""
    dense = listing.dense(window)
    if dense is None or len((await session.execute(dense)).all()) <= window.limit:
        return page((await session.execute(listing.sorted_page(window))).all(), window)
    # A write between two statements can change the rank of a user who is already on the page.
    rows: dict[int, Any] = {}
    for part, bounds in listing.ranks(window):
        missing = replace(bounds, limit=window.limit - len(rows))
        for row in await _read_rows(session, part, missing):
            rows.setdefault(row.id, row)
        if len(rows) > window.limit:
            break
    return page(list(rows.values()), window)


def page(rows: Sequence[Any], window: Window) -> Page[Any]:
    """Return the page of a window. One row more than its limit means that the list continues."""
    more = len(rows) > window.limit
    kept = rows[: window.limit]
    if window.from_end:
        return Page(kept[::-1], has_next=window.before is not None, has_previous=more)
    return Page(kept, has_next=more, has_previous=window.after is not None)
