"""Schema types over a record, whose fields are read only when they are selected."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self


def itself(record: Any) -> Any:
    # For a nested view of the same record.
    return record


@dataclass(frozen=True, slots=True)
class Nested:
    """A nested object: the view of the record that `by` returns."""

    view: "type[RecordView]"
    by: Callable[[Any], Any]

    def __call__(self, record: Any) -> "RecordView | None":
        return self.view.of_found(self.by(record))


@dataclass(frozen=True, slots=True)
class NestedList:
    """A nested list: the views of the records that `by` returns."""

    view: "type[RecordView]"
    by: Callable[[Any], list[Any]]

    def __call__(self, record: Any) -> "list[RecordView]":
        return list(map(self.view.of, self.by(record)))


Read = str | Callable[[Any], Any] | Nested | NestedList


class RecordView:
    """A type of the schema over one record: a row, an entity or another object.

    `fields_from` maps the Python name of a field to an attribute of the record, a function of the
    record, or nested views. Only selected fields are read.
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
