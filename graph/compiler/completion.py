"""Completes the values of fields, by type (GraphQL spec, 6.4.3).

Usual values take the fast path: generated code that raises for any other value (`codegen.py`).
`complete` is the fallback. It passes unusual values to graphql-core, which reports the errors.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol

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

from graph.compiler.deferred import Deferred, gather
from graph.compiler.execution import Execution, FieldContext
from graph.compiler.fast_path import Generate, LazyFastPath
from graph.compiler.graphql_core_adapter import FieldDetails

# Classes whose instances are neither awaitables nor exceptions.
ORDINARY: Final = frozenset({str, int, float, bool, list, tuple, dict, type(None)})


class Selections(Protocol):
    """The selections below a field, for each object type that it can return."""

    @property
    def details(self) -> list[FieldDetails]: ...
    @property
    def generate(self) -> Generate: ...
    def execute(
        self, type_: GraphQLObjectType, execution: Execution, source: Any, path: Path
    ) -> Any:
        """Return the completed fields of an object, or Deferred."""


class Completer(ABC):
    """Completes the values of one type at one position in an operation."""

    __slots__ = ()
    required = False

    @abstractmethod
    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        """Return the completed value, or Deferred. Raises an error if the value is invalid."""


class NonNullCompleter(Completer):
    __slots__ = ("inner", "type")
    required = True

    def __init__(self, type_: GraphQLNonNull[Any], inner: Completer) -> None:
        self.type = type_
        self.inner = inner

    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        completed = self.inner.complete(context, value, path)
        return context.fallback(self.type, None, path) if completed is None else completed


class LeafCompleter(Completer):
    __slots__ = ("coerce", "type")

    def __init__(self, type_: GraphQLLeafType) -> None:
        self.type = type_
        self.coerce = type_.coerce_output_value

    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        completed = self.coerce(value)
        if completed is None or completed is Undefined:
            return context.fallback(self.type, value, path)
        return completed


class ListCompleter(Completer):
    __slots__ = ("item", "type")

    def __init__(self, type_: GraphQLOutputType, item: Completer) -> None:
        self.type = type_
        self.item = item

    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if value.__class__ is not list and (is_async_iterable(value) or not is_iterable(value)):
            return context.fallback(self.type, value, path)
        completed: list[Any] = []
        pending: list[int] = []
        rest = iter(value)
        if not self._complete_some(context, rest, path, completed, pending):
            return Deferred(self._complete_rest, context, rest, path, completed, pending)
        return Deferred(_fill, completed, pending) if pending else completed

    def _complete_some(
        self,
        context: FieldContext,
        rest: Iterator[Any],
        path: Path,
        completed: list[Any],
        pending: list[int],
    ) -> bool:
        """Complete items until a pause is due. Returns whether all are complete."""
        slicer = context.execution.slicer
        try:
            for index, item in enumerate(rest, len(completed)):
                value = self._complete_item(context, item, Path(path, index, None))
                if value.__class__ is Deferred:
                    pending.append(index)
                completed.append(value)
                if slicer is not None and slicer.is_due():
                    return False
        except Exception:
            with suppress(Exception):  # only the first error is reported
                for item in rest:
                    if is_awaitable(item):
                        context.execution.start(item)
            raise
        return True

    async def _complete_rest(
        self,
        context: FieldContext,
        rest: Iterator[Any],
        path: Path,
        completed: list[Any],
        pending: list[int],
    ) -> list[Any]:
        slicer = context.execution.slicer
        assert slicer
        await slicer.pause()
        while not self._complete_some(context, rest, path, completed, pending):
            await slicer.pause()
        return await _fill(completed, pending) if pending else completed

    def _complete_item(self, context: FieldContext, item: Any, path: Path) -> Any:
        try:
            if item.__class__ not in ORDINARY and is_awaitable(item):
                return Deferred(self._await_item, context, context.execution.start(item), path)
            completed = self.item.complete(context, item, path)
        except Exception as error:  # noqa: BLE001 - every error of an item is reported at its path
            return context.handle_error(error, path, required=self.item.required)
        if completed.__class__ is Deferred:
            return Deferred(self._finish_item, context, completed, path)
        return completed

    async def _await_item(self, context: FieldContext, item: Awaitable[Any], path: Path) -> Any:
        try:
            return await _resolved(self.item.complete(context, await item, path))
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, path, required=self.item.required)

    async def _finish_item(self, context: FieldContext, completed: Deferred, path: Path) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, path, required=self.item.required)


async def _fill(completed: list[Any], pending: list[int]) -> list[Any]:
    values = await gather([completed[index] for index in pending])
    for index, value in zip(pending, values, strict=True):
        completed[index] = value
    return completed


class ObjectCompleter(Completer):
    __slots__ = ("_fast_path", "selections", "type")

    def __init__(self, type_: GraphQLObjectType, selections: Selections) -> None:
        self.type = type_
        self.selections = selections
        self._fast_path = LazyFastPath()

    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        with suppress(Exception):  # the fallback reports the error
            fast_path = self._fast_path
            if not fast_path.is_ready:
                fast_path.prepare(self, self.selections.generate)
            if fast_path.function is not None:
                return fast_path.function(value)
        if self.type.is_type_of:
            is_type = self.type.is_type_of(value, context.info)
            if is_awaitable(is_type):
                started = context.execution.start(is_type)
                return Deferred(self._await_type, context, started, value, path)
            if not is_type:
                return context.fallback(self.type, value, path)
        return self.selections.execute(self.type, context.execution, value, path)

    async def _await_type(
        self, context: FieldContext, is_type: Awaitable[Any], value: Any, path: Path
    ) -> Any:
        if not await is_type:
            return await _resolved(context.fallback(self.type, value, path))
        completed = self.selections.execute(self.type, context.execution, value, path)
        return await _resolved(completed)


class AbstractCompleter(Completer):
    """Completes the objects of an interface or a union, by their runtime types."""

    __slots__ = ("_objects", "_resolve_type", "selections", "type")

    def __init__(self, type_: GraphQLAbstractType, selections: Selections) -> None:
        self.type = type_
        self.selections = selections
        self._resolve_type = type_.resolve_type or default_type_resolver
        self._objects: dict[str, ObjectCompleter] = {}

    def complete(self, context: FieldContext, value: Any, path: Path) -> Any:
        if value is None or value is Undefined:
            return None
        if isinstance(value, Exception):
            raise value
        name = self._resolve_type(value, context.info, self.type)
        if is_awaitable(name):
            started = context.execution.start(name)
            return Deferred(self._await_type, context, started, value, path)
        return self._completer(context, name, value).complete(context, value, path)

    async def _await_type(
        self, context: FieldContext, name: Awaitable[Any], value: Any, path: Path
    ) -> Any:
        completer = self._completer(context, await name, value)
        return await _resolved(completer.complete(context, value, path))

    def _completer(self, context: FieldContext, name: Any, value: Any) -> ObjectCompleter:
        completer = self._objects.get(name) if name.__class__ is str else None
        if completer is None:
            type_ = context.execution.fallback.ensure_valid_runtime_type(
                name, self.type, self.selections.details, context.info, value
            )
            completer = self._objects[type_.name] = ObjectCompleter(type_, self.selections)
        return completer


async def _resolved(value: Any) -> Any:
    return await value if value.__class__ is Deferred else value


def leaf_completer(type_: GraphQLOutputType) -> Completer | None:
    """Return the completer of a scalar, an enum or their lists; None for other types."""
    if is_non_null_type(type_):
        inner = leaf_completer(type_.of_type)
        return inner and NonNullCompleter(type_, inner)
    if is_list_type(type_):
        inner = leaf_completer(type_.of_type)
        return inner and ListCompleter(type_, inner)
    return LeafCompleter(type_) if is_leaf_type(type_) else None


def composite_completer(type_: GraphQLOutputType, selections: Selections) -> Completer:
    if is_non_null_type(type_):
        return NonNullCompleter(type_, composite_completer(type_.of_type, selections))
    if is_list_type(type_):
        return ListCompleter(type_, composite_completer(type_.of_type, selections))
    if is_abstract_type(type_):
        return AbstractCompleter(type_, selections)
    assert isinstance(type_, GraphQLObjectType)
    return ObjectCompleter(type_, selections)
