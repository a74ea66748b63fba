"""Ordered lists and their pages, by keyset: no page costs more for lying deep in its list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

# How many rows of an order are looked at before all that match are looked for instead.
REACH = 1_000


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
            found.c[f"sort_{n}"].desc() if sort.descending else found.c[f"sort_{n}"].asc()
            for n, sort in enumerate(self._walked(window))
        ]
        return select(*found.c).order_by(*terms).limit(window.limit + 1)

    def _rows(self) -> Select[Any]:
        # The sort columns come with the row, for its cursor; the last of them is unique.
        sorted_by = [sort.column.label(f"sort_{n}") for n, sort in enumerate(self.order)]
        rows = select(*self.columns, *sorted_by).where(self.within)
        return rows if self.where is None else rows.where(self.where)

    def _read(self, window: Window, rows: Select[Any]) -> Select[Any]:
        terms = map(term, self._walked(window))
        return rows.where(*self._bounds(window)).order_by(*terms).limit(window.limit + 1)

    def _bounds(self, window: Window) -> list[ColumnElement[bool]]:
        upper = window.after if self.order[0].descending else window.before
        implied = [self.less_than] if upper is None and self.less_than is not None else []
        return [*bounds(self.order, window), *implied]

    def _walked(self, window: Window) -> list[Sort]:
        return [sort.reversed() if window.from_end else sort for sort in self.order]


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
    values = [literal(value, s.column.type) for s, value in zip(order, position, strict=True)]
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
