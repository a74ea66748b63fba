"""Values made into what the answer has of them, type by type (GraphQL spec, 6.4.3).

Each kind of type has two ways. The careful one tells where a value is wrong; graphql-core has the
word on all that is out of the ordinary. The other is Python code, for values that are as most are:
it raises, whatever is wrong, and then the careful way is gone.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLAbstractType,
    GraphQLLeafType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    Undefined,
    default_type_resolver,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import Path, is_async_iterable, is_awaitable, is_iterable

from graph.compiler.codegen import optional
from graph.compiler.deferred import Later, together
from graph.compiler.execution import Place

if TYPE_CHECKING:
    from graph.compiler.codegen import Code
    from graph.compiler.selections import Below, Selection

# What certainly is none of: an awaitable, an exception.
ORDINARY: Final = frozenset({str, int, float, bool, list, tuple, dict, type(None)})


class Value(ABC):
    """How the values of one type are completed at one place of an operation."""

    __slots__ = ()
    required = False

    @abstractmethod
    def complete(self, place: Place, value: Any, path: Path) -> Any:
        """Give the completed value, or Later; raise what is wrong with it."""

    @abstractmethod
    def code(
        self, code: "Code", name: str, *, records: bool = False, required: bool = False
    ) -> list[str] | None:
        """Give the lines that complete the variable `name`; None where they would not be enough.

        With `records` it has what an object is a view of, instead of the object. Where the value is
        `required`, they raise for null.
        """


class Required(Value):
    __slots__ = ("inner", "type")
    required = True

    def __init__(self, type_: GraphQLNonNull[Any], inner: Value) -> None:
        self.type = type_
        self.inner = inner

    def complete(self, place: Place, value: Any, path: Path) -> Any:
        completed = self.inner.complete(place, value, path)
        return place.carefully(self.type, None, path) if completed is None else completed

    def code(
        self, code: "Code", name: str, *, records: bool = False, required: bool = True
    ) -> list[str] | None:
        return self.inner.code(code, name, records=records, required=required)


class Leaf(Value):
    __slots__ = ("coerce", "type")

    def __init__(self, type_: GraphQLLeafType) -> None:
        self.type = type_
        self.coerce = type_.coerce_output_value

    def complete(self, place: Place, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        completed = self.coerce(value)
        if completed is None or completed is Undefined:
            return place.carefully(self.type, value, path)
        return completed

    def code(
        self, code: "Code", name: str, *, records: bool = False, required: bool = False
    ) -> list[str] | None:
        return None if records else code.leaf(self.type, name, required=required)


class Items(Value):
    __slots__ = ("item", "type")

    def __init__(self, type_: GraphQLOutputType, item: Value) -> None:
        self.type = type_
        self.item = item

    def complete(self, place: Place, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if value.__class__ is not list and (is_async_iterable(value) or not is_iterable(value)):
            return place.carefully(self.type, value, path)
        completed: list[Any] = []
        pending: list[int] = []
        rest = iter(value)
        if not self._complete_some(place, rest, path, completed, pending):
            return Later(self._complete_rest, place, rest, path, completed, pending)
        return Later(_filled, completed, pending) if pending else completed

    def _complete_some(
        self,
        place: Place,
        rest: Iterator[Any],
        path: Path,
        completed: list[Any],
        pending: list[int],
    ) -> bool:
        """Complete items until it is time to pause; tell whether that was all."""
        slicer = place.run.slicer
        try:
            for index, item in enumerate(rest, len(completed)):
                done = self._item(place, item, Path(path, index, None))
                if done.__class__ is Later:
                    pending.append(index)
                completed.append(done)
                if slicer is not None and slicer.is_due():
                    return False
        except Exception:
            with suppress(Exception):  # the first one is told
                for item in rest:
                    if is_awaitable(item):
                        place.run.hold(item)
            raise
        return True

    async def _complete_rest(
        self,
        place: Place,
        rest: Iterator[Any],
        path: Path,
        completed: list[Any],
        pending: list[int],
    ) -> list[Any]:
        assert place.run.slicer
        await place.run.slicer.pause()
        while not self._complete_some(place, rest, path, completed, pending):
            await place.run.slicer.pause()
        return await _filled(completed, pending) if pending else completed

    def _item(self, place: Place, item: Any, path: Path) -> Any:
        try:
            if item.__class__ not in ORDINARY and is_awaitable(item):
                return Later(self._awaited, place, place.run.hold(item), path)
            done = self.item.complete(place, item, path)
        except Exception as error:  # noqa: BLE001 - every error of an item stands at its place
            return place.failed(error, path, required=self.item.required)
        return Later(self._finished, place, done, path) if done.__class__ is Later else done

    async def _awaited(self, place: Place, item: Awaitable[Any], path: Path) -> Any:
        try:
            return await _whole(self.item.complete(place, await item, path))
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, path, required=self.item.required)

    async def _finished(self, place: Place, completed: Later, path: Path) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - as above
            return place.failed(error, path, required=self.item.required)

    def code(
        self, code: "Code", name: str, *, records: bool = False, required: bool = False
    ) -> list[str] | None:
        item = code.function_of(self.item, records=records)
        if item is None:
            return None
        return optional(
            [
                f"if {name}.__class__ is not list: raise FastPathFailed",
                f"{name} = [{item}(item) for item in {name}]",
            ],
            name,
            required=required,
        )


async def _filled(completed: list[Any], pending: list[int]) -> list[Any]:
    for index, value in zip(
        pending, await together([completed[index] for index in pending]), strict=True
    ):
        completed[index] = value
    return completed


class Object(Value):
    __slots__ = ("below", "type")

    def __init__(self, type_: GraphQLObjectType, below: "Below") -> None:
        self.type = type_
        self.below = below

    @property
    def selection(self) -> "Selection":
        return self.below.selection(self.type)

    def complete(self, place: Place, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        selection = self.selection
        with suppress(Exception):  # whatever it was, the careful way tells
            if plain := selection.plain_if_used_again():
                return plain(value)
        if self.type.is_type_of:
            answer = self.type.is_type_of(value, place.info)
            if is_awaitable(answer):
                return Later(self._asked, place, place.run.hold(answer), value, path)
            if not answer:
                return place.carefully(self.type, value, path)
        return selection.execute(place.run, value, path)

    async def _asked(self, place: Place, answer: Any, value: Any, path: Path) -> Any:
        if not await answer:
            return await _whole(place.carefully(self.type, value, path))
        return await _whole(self.selection.execute(place.run, value, path))

    def code(
        self, code: "Code", name: str, *, records: bool = False, required: bool = False
    ) -> list[str] | None:
        lines = code.object(self.type, self.selection.fields, name, records=records)
        return None if lines is None else optional(lines, name, required=required)


class Abstract(Value):
    """An interface or a union; each object's own type decides."""

    __slots__ = ("_objects", "_resolve", "below", "type")

    def __init__(self, type_: GraphQLAbstractType, below: "Below") -> None:
        self.type = type_
        self.below = below
        self._resolve = type_.resolve_type or default_type_resolver
        self._objects: dict[str, Object] = {}

    def complete(self, place: Place, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        name = self._resolve(value, place.info, self.type)
        if is_awaitable(name):
            return Later(self._resolved, place, place.run.hold(name), value, path)
        return self._of(place, name, value).complete(place, value, path)

    async def _resolved(self, place: Place, name: Any, value: Any, path: Path) -> Any:
        return await _whole(self._of(place, await name, value).complete(place, value, path))

    def _of(self, place: Place, name: Any, value: Any) -> Object:
        found = self._objects.get(name) if name.__class__ is str else None
        if found is None:
            type_ = place.run.careful.ensure_valid_runtime_type(
                name, self.type, self.below.details, place.info, value
            )
            found = self._objects[type_.name] = Object(type_, self.below)
        return found

    def code(
        self,
        code: "Code",  # noqa: ARG002 - see Value
        name: str,  # noqa: ARG002
        *,
        records: bool = False,  # noqa: ARG002
        required: bool = False,  # noqa: ARG002
    ) -> list[str] | None:
        return None


async def _whole(value: Any) -> Any:
    return await value if value.__class__ is Later else value


def leaf_of(type_: GraphQLOutputType) -> Value | None:
    """Give how values of a type are completed that has nothing below; None for any other."""
    if is_non_null_type(type_):
        inner = leaf_of(type_.of_type)
        return inner and Required(type_, inner)
    if is_list_type(type_):
        inner = leaf_of(type_.of_type)
        return inner and Items(type_, inner)
    return Leaf(type_) if is_leaf_type(type_) else None


def value_of(type_: GraphQLOutputType, below: "Below") -> Value:
    if is_non_null_type(type_):
        return Required(type_, value_of(type_.of_type, below))
    if is_list_type(type_):
        return Items(type_, value_of(type_.of_type, below))
    if is_abstract_type(type_):
        return Abstract(type_, below)
    assert isinstance(type_, GraphQLObjectType)
    return Object(type_, below)
