"""Ordered lists and their pages, by keyset: no page costs more for lying deep in its list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute

from db.prepared import PreparedStatement

# How many rows of an order are looked at before all that match are looked for instead.
REACH = 1_000

KEPT = 256  # lists of each kind that are prepared: callers choose columns and orders


@dataclass(frozen=True, slots=True)
class Sort:
    """One column of an order."""

    column: InstrumentedAttribute[Any]
    descending: bool = False

    def reversed(self) -> "Sort":
        return replace(self, descending=not self.descending)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of an ordered list: at most `limit` rows from one end, between two positions.

    A position is the sort values of a row, exclusive. `from_end` counts the rows from the list's
    end; they still come in the list's order.
    """

    limit: int
    after: tuple[Any, ...] | None = None
    before: tuple[Any, ...] | None = None
    from_end: bool = False

    def given(self) -> dict[str, Any]:
        """Name the values, as `Listing.query` has places for them."""
        given: dict[str, Any] = {"rows": self.limit + 1}
        for name, position in (("after", self.after), ("before", self.before)):
            given |= {f"{name}_{n}": value for n, value in enumerate(position or ())}
        return given


@dataclass(frozen=True, slots=True)
class Listing:
    """An ordered list of rows: those that are `within` it, less those that `where` leaves out.

    What is within is dense in every order, and has an index for it. How dense the rest is, nobody
    knows beforehand, least of all a planner, to whom the name that is searched for and the order by
    name have nothing to do with each other. So a page of a list with a `where` is read in two
    steps: `near_page` walks the order, but not for longer than `REACH` rows; where that is not
    enough, `far_page` finds all that match and sorts them. Neither can take very long.

    `less_than` is true of all that are within, and keeps the greatest values of the first column
    out of a walk that would begin with them. An index can use one bound at each end, so that it is
    left out where the window has its own.
    """

    columns: Sequence[ColumnElement[Any]]
    order: Sequence[Sort]
    within: ColumnElement[bool]
    where: ColumnElement[bool] | None = None
    less_than: ColumnElement[bool] | None = None

    def page(self, window: Window) -> Select[Any]:
        """Select one page, and one row more, which tells whether the list goes on."""
        return self._read(window, self._rows())

    def query(self, *, after: bool, before: bool, from_end: bool) -> PreparedStatement:
        """Prepare the pages of all windows that have a bound here or there: see `Window.given`."""
        places = open_window(self.order, after=after, before=before, from_end=from_end)
        rows = self._ordered(places, self._rows())
        return PreparedStatement(rows.limit(bindparam("rows", type_=Integer())))

    def near_page(self, window: Window) -> Select[Any] | None:
        """Select what of the page lies within reach; nothing where the list ends before that.

        None where there is nothing to pass over, or no index to walk along.
        """
        order = self._walked(window)
        if self.where is None or len({sort.descending for sort in order}) > 1:
            return None
        columns = [sort.column for sort in order]
        walk = select(*columns).where(self.within, *self._bounds(window))
        end = walk.order_by(*map(term, order)).offset(REACH).limit(1).correlate(None)
        row, bound = _row(columns), end.scalar_subquery()
        near = row > bound if order[0].descending else row < bound
        return self._read(window, self._rows().where(near))

    def far_page(self, window: Window) -> Select[Any]:
        """Select the page from all that match, however many the order would have to pass over."""
        # The offset keeps a planner from walking the order after all.
        found = self._rows().where(*self._bounds(window)).offset(0).subquery()
        terms = [
            found.c[sort.column.key].desc() if sort.descending else found.c[sort.column.key].asc()
            for sort in self._walked(window)
        ]
        return select(*found.c).order_by(*terms).limit(window.limit + 1)

    def _rows(self) -> Select[Any]:
        # The sort columns come with the row, for its cursor; the last of them is unique.
        read = {column.key for column in self.columns}
        sorted_by = [sort.column for sort in self.order if sort.column.key not in read]
        rows = select(*self.columns, *sorted_by).where(self.within)
        return rows if self.where is None else rows.where(self.where)

    def _read(self, window: Window, rows: Select[Any]) -> Select[Any]:
        return self._ordered(window, rows).limit(window.limit + 1)

    def _ordered(self, window: Window, rows: Select[Any]) -> Select[Any]:
        return rows.where(*self._bounds(window)).order_by(*map(term, self._walked(window)))

    def _bounds(self, window: Window) -> list[ColumnElement[bool]]:
        upper = window.after if self.order[0].descending else window.before
        implied = [self.less_than] if upper is None and self.less_than is not None else []
        return [*bounds(self.order, window), *implied]

    def _walked(self, window: Window) -> list[Sort]:
        return [sort.reversed() if window.from_end else sort for sort in self.order]


def open_window(order: Sequence[Sort], *, after: bool, before: bool, from_end: bool) -> Window:
    """Give a window with places for the values of every other of its shape, less the limit."""

    def places(name: str) -> tuple[Any, ...]:
        return tuple(bindparam(f"{name}_{n}", type_=s.column.type) for n, s in enumerate(order))

    return Window(
        limit=0,
        after=places("after") if after else None,
        before=places("before") if before else None,
        from_end=from_end,
    )


def _row(values: Sequence[Any]) -> ColumnElement[Any]:
    return values[0] if len(values) == 1 else tuple_(*values)


def term(sort: Sort) -> ColumnElement[Any]:
    return sort.column.desc() if sort.descending else sort.column.asc()


def bounds(order: Sequence[Sort], window: Window) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if window.after is not None:
        bounds.append(_beyond(order, window.after))
    if window.before is not None:
        bounds.append(_beyond([s.reversed() for s in order], window.before))
    return bounds


def _beyond(order: Sequence[Sort], position: Sequence[Any]) -> ColumnElement[bool]:
    """Tell whether a row comes after `position`.

    In one direction this is a comparison of rows, which an index on those columns answers; in
    mixed ones, the first column that differs decides.
    """
    values = [
        value if isinstance(value, BindParameter) else literal(value, s.column.type)
        for s, value in zip(order, position, strict=True)
    ]
    columns = [s.column for s in order]
    if len({s.descending for s in order}) == 1:
        row, bound = _row(columns), _row(values)
        return row < bound if order[0].descending else row > bound
    return or_(
        *(
            and_(
                *(c == v for c, v in zip(columns[:n], values[:n], strict=True)),
                columns[n] < values[n] if s.descending else columns[n] > values[n],
            )
            for n, s in enumerate(order)
        )
    )
