"""Column types that behave the same on SQLite and on PostgreSQL."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    DateTime,
    Dialect,
    Integer,
    String,
    TableValuedAlias,
    TypeDecorator,
    Uuid,
    bindparam,
    func,
    literal,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType, comma_op

# SQLite makes only an INTEGER primary key an alias of the rowid, and so auto-incrementing.
Id = BigInteger().with_variant(Integer(), "sqlite")

Json = JSON().with_variant(postgresql.JSONB(), "postgresql")


def code_point_text(length: int | None = None) -> String:
    """Text that compares and sorts by code point, independent of the database's locale."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC with microseconds. SQLite stores it as sortable text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        value = _aware(value)
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], datetime | None]:
        if dialect.name == "sqlite":
            return super().bind_processor(dialect)  # type: ignore[return-value]  # never None: `process_bind_param` is defined
        return _aware

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,  # noqa: ARG002 - SQLAlchemy passes it
    ) -> Callable[[Any], datetime | None] | None:
        return _kept_as_text if dialect.name == "sqlite" else None


def _aware(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return value


def _kept_as_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


class _LastText(FunctionElement[str]):
    """U+10FFFF, the greatest code point. No text of a user contains it."""

    type = code_point_text()
    inherit_cache = True


def nulls_last(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Return a column of texts as a value to sort by: a missing text is the greatest.

    The value is never NULL, so that rows can be compared with a cursor and an index supports it.
    """
    return func.coalesce(column, _LastText(), type_=code_point_text())


# The value of a missing text in `nulls_last`.
LAST_TEXT: Final = "\U0010ffff"


@compiles(_LastText, "postgresql")
def _last_text_on_postgresql(*_: Any, **__: Any) -> str:
    return f"chr({ord(LAST_TEXT)})"


@compiles(_LastText, "sqlite")
def _last_text_on_sqlite(*_: Any, **__: Any) -> str:
    return f"char({ord(LAST_TEXT)})"


class Lines(FunctionElement[str]):
    """Columns of texts without line breaks as one text, with one line for each."""

    type = code_point_text()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Any:
        return self if against is comma_op else Grouping(self)


@compiles(Lines)
def _lines(element: Lines, compiler: Any, **options: Any) -> str:
    first, *others = (_as_line(column, compiler, options) for column in element.clauses)
    # PostgreSQL prints the expression of an index like this, and Alembic compares it.
    parts = [part for line in others for part in ("'\n'", line)]
    return reduce("({}) || {}".format, parts[1:], f"{first} || {parts[0]}")


def _as_line(column: ColumnElement[Any], compiler: Any, options: Mapping[str, Any]) -> str:
    text: str = compiler.process(column, **options)
    return f"coalesce({text}, '')" if getattr(column, "nullable", False) else text


class RandomUuid(FunctionElement[UUID]):
    """A random UUID, made by the database."""

    type = Uuid()
    inherit_cache = True


@compiles(RandomUuid, "postgresql")
def _uuid_on_postgresql(*_: Any, **__: Any) -> str:
    return "gen_random_uuid()"


@compiles(RandomUuid, "sqlite")
def _uuid_on_sqlite(*_: Any, **__: Any) -> str:
    return "lower(hex(randomblob(16)))"  # as SQLAlchemy stores a UUID


class _Elements(FunctionElement[Any]):
    """The elements of a JSON array, as a table with the column `value`."""

    inherit_cache = True


class _Member(FunctionElement[str]):
    """One member of a JSON object, as text."""

    type = String()
    inherit_cache = True


def elements_of(column: InstrumentedAttribute[Any]) -> TableValuedAlias:
    return _Elements(column).table_valued("value", name="elements")


def member_of(value: ColumnElement[Any], name: str) -> ColumnElement[str]:
    return _Member(value, literal(name))


@compiles(_Elements, "postgresql")
def _elements_of_jsonb(element: _Elements, compiler: Any, **options: Any) -> str:
    return f"jsonb_array_elements({compiler.process(element.clauses, **options)})"


@compiles(_Elements, "sqlite")
def _elements_of_json(element: _Elements, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Member, "postgresql")
def _member_of_jsonb(element: _Member, compiler: Any, **options: Any) -> str:
    value, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{value} ->> {name}"


@compiles(_Member, "sqlite")
def _member_of_json(element: _Member, compiler: Any, **options: Any) -> str:
    value, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({value}, '$.' || {name})"


class _Among(FunctionElement[bool]):
    """True if a column has one of the values of a list parameter."""

    # One parameter for all values, so the SQL text does not depend on their number.

    inherit_cache = True


def among(column: InstrumentedAttribute[Any], parameter: str) -> ColumnElement[bool]:
    item = BigInteger() if isinstance(column.type, Integer) else String()
    values: BindParameter[Any] = bindparam(
        parameter, type_=postgresql.ARRAY(item).with_variant(JSON(), "sqlite")
    )
    return _Among(column, values)


@compiles(_Among, "postgresql")
def _among_an_array(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "sqlite")
def _among_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - compiled parts
