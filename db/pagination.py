"""Ordered lists with keyset pagination: the cost of a page does not depend on its position."""

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

from db.column_types import nulls_last
from db.prepared import PreparedStatement

# Number of rows that are scanned in order before all matching rows are selected and sorted instead.
REACH = 1_000

_Column = ColumnElement[Any] | InstrumentedAttribute[Any]

KEPT = 256  # prepared lists of each kind: callers choose columns and orders


@dataclass(frozen=True, slots=True)
class Sort:
    column: InstrumentedAttribute[Any]
    descending: bool = False

    @property
    def value(self) -> _Column:
        """What rows are compared by. It is never NULL."""
        return self.value_of(self.column)

    def value_of(self, column: _Column) -> _Column:
        nullable = self.column.property.columns[0].nullable
        return nulls_last(column) if nullable else column

    def reversed(self) -> "Sort":
        return replace(self, descending=not self.descending)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an ordered list: at most `limit` rows from one end, between two positions.

    A position is the sort values of a row, and is exclusive. With `from_end` the rows are counted
    from the end of the list, but are still returned in the list's order.
    """

    limit: int
    after: tuple[Any, ...] | None = None
    before: tuple[Any, ...] | None = None
    from_end: bool = False

    def reversed(self) -> "Window":
        """Return the window of the same rows in the reversed list."""
        return replace(self, after=self.before, before=self.after, from_end=not self.from_end)

    def given(self) -> dict[str, Any]:
        """Return the parameters of `Listing.query`."""
        given: dict[str, Any] = {"rows": self.limit + 1}
        for name, position in (("after", self.after), ("before", self.before)):
            given |= {f"{name}_{n}": value for n, value in enumerate(position or ())}
        return given


@dataclass(frozen=True, slots=True)
class Listing:
    """An ordered list of the rows that match `within` and `where`.

    The rows that match `within` are dense in every order, and an index supports them. The density
    of the rows that match `where` is unknown, also to the planner. A page of a list with a `where`
    is therefore read in two steps, which bounds the time of both. `near_page` scans at most `reach`
    rows in order. If those are not enough, `far_page` selects all matching rows and sorts them.

    `less_than` is true for every row that matches `within`. It keeps a descending scan from
    starting at the excluded greatest values of the first column. An index scan uses one bound at
    each end, so `less_than` is omitted if the window has a bound at that end.
    """

    columns: Sequence[ColumnElement[Any]]
    order: Sequence[Sort]
    within: ColumnElement[bool]
    where: ColumnElement[bool] | None = None
    less_than: ColumnElement[bool] | None = None
    reach: int = REACH

    def page(self, window: Window) -> Select[Any]:
        # One row more shows whether the list continues.
        return self._read(window, self._rows())

    def query(self, *, after: bool, before: bool, from_end: bool) -> PreparedStatement:
        """Prepare the pages of all windows with these bounds. The parameters are `Window.given`."""
        places = open_window(self.order, after=after, before=before, from_end=from_end)
        rows = self._ordered(places, self._rows())
        return PreparedStatement(rows.limit(bindparam("rows", type_=Integer())))

    def near_page(self, window: Window) -> Select[Any] | None:
        """Select the part of the page within `reach` rows; no rows if the list ends before that.

        Returns None if there is no `where`, or no index for the order.
        """
        order = self._walked(window)
        if self.where is None or len({sort.descending for sort in order}) > 1:
            return None
        columns = [sort.value for sort in order]
        walk = select(*columns).where(self.within, *self._bounds(window))
        end = walk.order_by(*map(term, order)).offset(self.reach).limit(1).correlate(None)
        row, bound = _row(columns), end.scalar_subquery()
        near = row > bound if order[0].descending else row < bound
        return self._read(window, self._rows().where(near))

    def far_page(self, window: Window) -> Select[Any]:
        # OFFSET 0 keeps the planner from scanning in order after all.
        found = self._rows().where(*self._bounds(window)).offset(0).subquery()
        terms = [
            _directed(sort.value_of(found.c[sort.column.key]), sort)
            for sort in self._walked(window)
        ]
        return select(*found.c).order_by(*terms).limit(window.limit + 1)

    def _rows(self) -> Select[Any]:
        # The cursor of a row needs the sort columns. The last of them is unique.
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
    """Return a window with parameters for its values, without the limit."""

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
    return _directed(sort.value, sort)


def _directed(value: _Column, sort: Sort) -> ColumnElement[Any]:
    return value.desc() if sort.descending else value.asc()


def bounds(order: Sequence[Sort], window: Window) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if window.after is not None:
        bounds.append(_beyond(order, window.after))
    if window.before is not None:
        bounds.append(_beyond([s.reversed() for s in order], window.before))
    return bounds


def _beyond(order: Sequence[Sort], position: Sequence[Any]) -> ColumnElement[bool]:
    """Return a condition that is true for rows after `position`.

    If all columns have the same direction, it is a comparison of rows, which an index supports.
    Otherwise the first column that differs decides.
    """
    values = [
        value if isinstance(value, BindParameter) else literal(value, s.column.type)
        for s, value in zip(order, position, strict=True)
    ]
    columns = [s.value for s in order]
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
