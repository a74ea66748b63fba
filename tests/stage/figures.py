"""Figures of the stage: tables that `make stage` prints at its end."""

from collections.abc import Mapping, Sequence
from typing import Final

_tables: Final[dict[str, list[Mapping[str, object]]]] = {}


def record(table: str, **row: object) -> None:
    """Add a row to a table. Its columns are the names of the values."""
    _tables.setdefault(table, []).append(row)


def tables() -> Mapping[str, Sequence[str]]:
    """Return the lines of each table, in Markdown."""
    return {title: _lines(rows) for title, rows in _tables.items()}


def _lines(rows: Sequence[Mapping[str, object]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [[_cell(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *body = (
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in cells
    )
    return [head, f"|{'|'.join('-' * (width + 2) for width in widths)}|", *body]


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
