"""Reads the rows of a file to import, and validates them without the database."""

import csv
import errno
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TextIO, cast

import orjson
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from graph.exchange.rows import EXPORTED, IMPORTED, ImportedUser, problems_of
from users.commands import UserFields
from users.entity import KEY_COLUMNS, Columns
from users.validation import parse_fields, parse_reason

MAX_LINE: Final = 1024 * 1024  # bytes
_INVALID: Final = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, by surrogateescape
_NEVER_EMPTY: Final = frozenset({"externalId", "status"})
_NOT_AN_OBJECT: Final = "The line is not a JSON object."
_REASON: Final = "statusReason"
_KEYS: Final = ("external_id", "username", "email")
_FIELDS: Final = {name: to_camel(name) for name in UserFields.__annotations__}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that is not imported. Messages contain no values of the row.

    `line` counts from 1, and is the first line of a CSV row with line breaks. `field` has the name
    in the file, or is empty.
    """

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    user: ImportedUser


InvalidRow = tuple[Rejection, ...]


class UnreadableFile(Exception):
    """The file as a whole cannot be imported. The message is one line."""


def check_is_file(path: Path) -> None:
    """Raise UnreadableFile for a pipe, because a file is read more than once."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "")
    if str(path) == "-" or (path.exists() and not path.is_file()):
        raise UnreadableFile("a pipe cannot be imported: store its rows in a file first")


def read(path: Path) -> Iterator[Row | InvalidRow]:
    """Yield the rows of a `.csv` or `.ndjson` file. Raises UnreadableFile."""
    match path.suffix.lower():
        case ".csv":
            values = _csv(path)
        case ".ndjson" | ".jsonl":
            values = _ndjson(path)
        case _:
            raise UnreadableFile("the name must end with .csv, .ndjson or .jsonl")
    for line, value in values:
        yield (value,) if isinstance(value, Rejection) else _row(line, value)


def _row(line: int, value: object) -> Row | InvalidRow:
    if not isinstance(value, dict):
        return (Rejection(line, "", _NOT_AN_OBJECT),)
    try:
        return Row(line, ImportedUser.model_validate(value))
    except ValidationError as error:
        problems = [Rejection(line, name, message) for name, message in problems_of(error)]
    found = {problem.field for problem in problems}
    others = value.keys() - found
    given = {name: value[title] for name, title in _FIELDS.items() if title in others}
    reason = value[_REASON] if _REASON in others else None
    return (*problems, *_parse(line, given, reason)[1])


def _parse(
    line: int, fields: Mapping[str, Any], reason: str | None
) -> tuple[Columns, list[Rejection]]:
    columns, violations = parse_fields(cast("UserFields", fields))
    found = [Rejection(line, to_camel(v.field), v.message) for v in violations]
    found += [Rejection(line, _REASON, v.message) for v in parse_reason(reason)[1]]
    return columns, found


def _ndjson(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                raise UnreadableFile(f"line {number} has more than {MAX_LINE} bytes")
            if not line.strip():
                continue
            try:
                yield number, orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError:
                yield number, Rejection(number, "", _NOT_AN_OBJECT)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each row as a dict. An empty cell is null."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows, begin = csv.reader(_lines(file), strict=True), 1
        try:
            names = _without_unnamed(next(filter(any, rows), []))
            _check_header(names)
            begin = rows.line_num + 1
            for cells in rows:
                if any(cells):  # spreadsheets also write rows of empty cells
                    yield begin, _record(begin, names, cells)
                begin = rows.line_num + 1
        except csv.Error as error:
            # A quotation mark that is not closed extends the row to a later line, or to the end.
            is_long = rows.line_num > begin
            found = f"lines {begin} to {rows.line_num}" if is_long else f"line {begin}"
            raise UnreadableFile(f"{found}: {error}") from None


def _lines(file: TextIO) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), start=1):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise UnreadableFile(f"line {number} has more than {MAX_LINE} characters")
        if not line.isascii() and _INVALID.search(line):
            raise UnreadableFile(f"line {number} is not encoded in UTF-8")
        yield line


def _without_unnamed(names: Sequence[str]) -> Sequence[str]:
    # Spreadsheets write cells that were cleared, also beside the last column.
    used = max((position for position, name in enumerate(names, start=1) if name), default=0)
    return names[:used]


def _check_header(names: Sequence[str]) -> None:
    if len(names) == 1 and ("\t" in names[0] or ";" in names[0]):
        raise UnreadableFile("the columns must be separated by commas")
    if "externalId" not in names:
        columns = ", ".join(sorted(IMPORTED))
        raise UnreadableFile(f"the first line must name externalId, and may name {columns}")
    if len(set(names)) < len(names):
        raise UnreadableFile("the first line names a column twice")
    for position, name in enumerate(names, start=1):
        if name not in IMPORTED and name not in EXPORTED:
            columns = ", ".join(sorted(IMPORTED))
            message = f"the first line has an unknown name in column {position}; it may name"
            raise UnreadableFile(f"{message} {columns}")


def _record(line: int, names: Sequence[str], cells: Sequence[str]) -> Any:
    if len(cells) < len(names) or any(cells[len(names) :]):
        message = f"The row has {len(cells)} cells, and the first line has {len(names)}."
        return Rejection(line, "", message)
    # An empty cell clears a name. The key and the status have no empty value.
    given = zip(names, (cell or None for cell in cells), strict=False)
    return {name: cell for name, cell in given if cell or name not in _NEVER_EMPTY}


@dataclass
class Validated:
    """The number of rows, and those that cannot be imported whatever the database contains."""

    rows: int = 0
    rejections: list[Rejection] = field(default_factory=list)


def validate(rows: Iterable[Row | InvalidRow]) -> Validated:
    """Check each row, and that no two rows have the same unique value.

    This takes about 50 bytes of memory for each row.
    """
    found = Validated()
    seen = {name: _Seen() for name in _KEYS}
    for row in rows:
        found.rows += 1
        if not isinstance(row, Row):
            found.rejections += row
            continue
        given = {**row.user.fields, "external_id": row.user.external_id}
        columns, rejections = _parse(row.line, given, row.user.status_reason)
        found.rejections += rejections
        for name in _KEYS:
            key = columns.get(KEY_COLUMNS[name])
            if key is not None:
                seen[name].add(row.line, key)
    for name, keys in seen.items():
        for line, first in keys.repeated():
            found.rejections.append(
                Rejection(line, to_camel(name), f"Line {first} has the same value.")
            )
    found.rejections.sort(key=lambda rejection: rejection.line)
    return found


class _Seen:
    """Finds equal texts by their 64-bit hashes, in 16 bytes for each text."""

    def __init__(self) -> None:
        self._lines, self._hashes = array("Q"), array("q")

    def add(self, line: int, text: str) -> None:
        self._lines.append(line)
        self._hashes.append(hash(text))

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Yield the line of each text that occurred before, with the line of its first."""
        twice = {one for one, other in pairwise(sorted(self._hashes)) if one == other}
        first: dict[int, int] = {}
        for line, key in zip(self._lines, self._hashes, strict=True):
            if key in twice and first.setdefault(key, line) != line:
                yield line, first[key]
