"""Objects of the schema that are read from a row as their fields are asked for."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

Read = str | Callable[[Any], Any]


class View:
    """A type of the schema over one record: a row, an entity, or whatever has the attributes.

    `__reads__` tells for each field by its name in Python what it is of the record: the attribute
    of that name, or what a function makes of it. A page of rows costs nothing but what is read.
    """

    __reads__: ClassVar[Mapping[str, Read]]
    record: Any

    @classmethod
    def of(cls, record: Any) -> Self:
        view = object.__new__(cls)
        view.record = record
        return view

    def __getattr__(self, name: str) -> Any:
        read = self.__reads__.get(name)
        if read is None:
            raise AttributeError(name, name=name, obj=self)
        return getattr(self.record, read) if isinstance(read, str) else read(self.record)
