"""Executes fields: reads or resolves the value, then completes it (GraphQL spec, 6.4)."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from graphql import FieldNode
from graphql.pyutils import Path, is_awaitable

from graph.compiler.arguments import Arguments
from graph.compiler.completion import ORDINARY, Completer
from graph.compiler.deferred import Deferred, Lookup
from graph.compiler.execution import Execution, FieldContext
from graph.compiler.fast_path import FastPathFailed, Generate, LazyFastPath
from graph.compiler.field_definitions import FieldDefinition
from graph.compiler.graphql_core_adapter import FieldDetails, info_of_field


class FieldNodes(list[FieldNode]):
    """`info.field_nodes`. It is the same object in all executions, so it can carry a cache."""

    names_below: frozenset[str] | None = None
    """A cache of resolvers: the names of the fields below, equal in all executions."""


class PendingLookup:
    """A field whose resolver returned a Lookup."""

    __slots__ = ("context", "field", "lookup")

    def __init__(
        self, field: "SelectedField", context: FieldContext, lookup: Lookup[Any, Any]
    ) -> None:
        self.field = field
        self.context = context
        self.lookup = lookup


class SelectedField:
    """One response key of a selection set, with all nodes that select it."""

    __slots__ = (
        "_fast_path",
        "_generate",
        "arguments",
        "completer",
        "definition",
        "details",
        "info",
        "key",
        "nodes",
    )

    def __init__(
        self,
        definition: FieldDefinition,
        key: str,
        details: list[FieldDetails],
        arguments: Arguments,
        completer: Completer,
        generate: Generate,
    ) -> None:
        self.definition = definition
        self.key = key
        self.details = details
        self.nodes = FieldNodes(detail.node for detail in details)
        self.arguments = arguments
        self.completer = completer
        self.info = info_of_field(
            definition.name, self.nodes, definition.definition.type, definition.parent
        )
        self._generate = generate
        self._fast_path = LazyFastPath()

    def execute(self, execution: Execution, source: Any, path: Path) -> Any:
        """Return the completed value, Deferred or PendingLookup.

        Raises the located error of a non-null field.
        """
        context, definition = FieldContext(execution, self, path), self.definition
        try:
            if definition.read is not None:
                with suppress(FastPathFailed):
                    return self._handle(context, definition.read(source))
            arguments = self.arguments(execution.variables)
            if definition.is_async:
                return Deferred(self._resolve, context, source, arguments)
            return self._handle(context, definition.resolve(source, context.info, **arguments))
        except Exception as error:  # noqa: BLE001 - every error of a field is reported at its path
            return context.handle_error(error, path, required=self.completer.required)

    def _handle(self, context: FieldContext, value: Any) -> Any:
        if value.__class__ is Lookup:
            return PendingLookup(self, context, value)
        if value.__class__ not in ORDINARY and is_awaitable(value):
            return Deferred(self._await, context, context.execution.start(value))
        completed = self._complete(context, value)
        if completed.__class__ is Deferred:
            return Deferred(self._finish, context, completed)
        return completed

    def _complete(self, context: FieldContext, value: Any) -> Any:
        slicer = context.execution.slicer
        try:
            fast_path = self._fast_path
            if not fast_path.is_ready:
                fast_path.prepare(self.completer, self._generate, now=slicer is not None)
            if fast_path.function is not None:
                completed = fast_path.function(value)
                if slicer is None or self.definition.leaf_completer:
                    return completed
                return slicer.render(completed)
        except Exception:  # noqa: BLE001, S110 - the fallback reports the error
            pass
        return self.completer.complete(context, value, context.path)

    async def _resolve(
        self, context: FieldContext, source: Any, arguments: Mapping[str, Any]
    ) -> Any:
        try:
            slicer = context.execution.slicer
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            value = await self.definition.resolve(source, context.info, **arguments)
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            completed = self._complete(context, value)
            return await completed if completed.__class__ is Deferred else completed
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, context.path, required=self.completer.required)

    async def _await(self, context: FieldContext, awaitable: Any) -> Any:
        try:
            value = await awaitable
            slicer = context.execution.slicer
            if slicer is not None and slicer.is_due():
                await slicer.pause()
            completed = self._complete(context, value)
            return await completed if completed.__class__ is Deferred else completed
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, context.path, required=self.completer.required)

    def complete_lookup(
        self, pending: PendingLookup, lookup: asyncio.Future[list[Any]], index: int
    ) -> Any:
        """Complete the found value. Returns Deferred if fields below it wait."""
        context = pending.context
        try:
            completed = self._complete(context, pending.lookup.make(lookup.result()[index]))
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, context.path, required=self.completer.required)
        if completed.__class__ is Deferred:
            return Deferred(self._finish, context, completed)
        return completed

    async def _finish(self, context: FieldContext, completed: Deferred) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - as above
            return context.handle_error(error, context.path, required=self.completer.required)
