"""Objects of the schema that are read from a row as their fields are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self


def itself(record: Any) -> Any:
    """Have the same record seen in another way."""
    return record


@dataclass(frozen=True, slots=True)
class Nested:
    """An object that a view has: the view of the record that `by` gives."""

    view: "type[RecordView]"
    by: Callable[[Any], Any]

    def __call__(self, record: Any) -> "RecordView | None":
        return self.view.of_found(self.by(record))


@dataclass(frozen=True, slots=True)
class NestedList:
    """A list of objects that a view has: the views of the records that `by` gives in a list."""

    view: "type[RecordView]"
    by: Callable[[Any], list[Any]]

    def __call__(self, record: Any) -> "list[RecordView]":
        return list(map(self.view.of, self.by(record)))


Read = str | Callable[[Any], Any] | Nested | NestedList


class RecordView:
    """A type of the schema over one record: a row, an entity, or whatever has the attributes.

    `fields_from` tells for each field by its name in Python what it is of the record: the attribute
    of that name, or what a function makes of it, or views of records that a function gives. A page
    of rows costs nothing but what is read.
    """

    fields_from: ClassVar[Mapping[str, Read]]
    record: Any

    @classmethod
    def of(cls, record: Any) -> Self:
        view = object.__new__(cls)
        view.record = record
        return view

    @classmethod
    def of_found(cls, record: Any | None) -> Self | None:
        return None if record is None else cls.of(record)

    def __getattr__(self, name: str) -> Any:
        read = self.fields_from.get(name)
        if read is None:
            raise AttributeError(name, name=name, obj=self)
        return getattr(self.record, read) if isinstance(read, str) else read(self.record)
