"""Statements that are compiled once, and rows that are plain tuples."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Dialect, Enum, Insert, Select
from sqlalchemy.types import TypeEngine

Row = tuple[Any, ...]  # a namedtuple of the columns
Processor = Callable[[Any], Any]


class PreparedStatement:
    """A statement that is run often. Its parameters and columns have names."""

    __slots__ = ("_compiled", "statement")

    def __init__(self, statement: Select[Any] | Insert) -> None:
        self.statement = statement
        self._compiled: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> "Compiled":
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compile(self.statement, dialect)
        return compiled


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement in the driver's form."""

    text: str
    places: Sequence[tuple[str, Processor | None]]  # parameters in order, with converters
    fixed: Mapping[str, Any]  # the values that the statement itself contains
    row: type[Row]
    converters: Sequence[tuple[int, Processor]]  # of columns that the driver does not convert

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        values = {**self.fixed, **given}
        return [
            values[name] if convert is None else convert(values[name])
            for name, convert in self.places
        ]

    def rows(self, found: Sequence[Any]) -> list[Any]:
        # By column, so that the loops run in C.
        if not found:
            return []
        make = partial(tuple.__new__, self.row)
        if not self.converters:
            return list(map(make, found))
        columns: list[Any] = list(zip(*found, strict=True))
        for place, convert in self.converters:
            columns[place] = map(convert, columns[place])
        return list(map(make, zip(*columns, strict=True)))


def _compile(statement: Select[Any] | Insert, dialect: Dialect) -> Compiled:
    compiled = statement.compile(dialect=dialect)
    required = [name for name, bound in compiled.binds.items() if bound.required]
    expanded = compiled.construct_expanded_state(dict.fromkeys(required))
    columns = list(statement.exported_columns)
    processors = [_converter(column.type, dialect) for column in columns]
    return Compiled(
        text=expanded.statement,
        places=[
            (name, _binder(compiled.binds[name].type, dialect))
            for name in expanded.positiontup or ()
        ],
        fixed={
            name: expanded.parameters[name]
            for name in expanded.positiontup or ()
            if name not in required
        },
        row=_row_of(tuple(str(column.key) for column in columns)),
        converters=[(n, convert) for n, convert in enumerate(processors) if convert is not None],
    )


@lru_cache(maxsize=256)
def _row_of(columns: tuple[str, ...]) -> type[Row]:
    return namedtuple("Row", columns)  # noqa: PYI024 - the fields are known only here


def _binder(type_: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    if isinstance(type_, Enum) and type_.enum_class:
        names: dict[Any, str | None] = {type_.enum_class(name): name for name in type_.enums}
        return {None: None, **names}.__getitem__
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _converter(type_: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    if isinstance(type_, Enum) and type_.enum_class:
        members: dict[Any, Any] = {name: type_.enum_class(name) for name in type_.enums}
        return {None: None, **members}.__getitem__
    return type_.dialect_impl(dialect).result_processor(dialect, None)
