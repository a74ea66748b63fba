"""Executes selection sets: the fields of an object concurrently or serially."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import GraphQLObjectType
from graphql.pyutils import Path

from graph.compiler.deferred import AfterLookup, Deferred, gather
from graph.compiler.execution import Execution, TimeSlicer
from graph.compiler.fields import PendingLookup, SelectedField


class SelectionSet:
    """The selected fields of one object type, with the fields of fragments merged."""

    __slots__ = ("fields", "type")

    def __init__(self, type_: GraphQLObjectType, fields: Sequence[SelectedField]) -> None:
        self.type = type_
        self.fields = fields

    def execute(self, execution: Execution, source: Any, path: Path | None) -> Any:
        """Return the completed fields by response key, or Deferred."""
        completed: dict[str, Any] = {}
        deferred: dict[str, Deferred] = {}
        lookups: dict[Any, list[PendingLookup]] = {}
        name = self.type.name
        for field in self.fields:
            value = field.execute(execution, source, Path(path, field.key, name))
            if value.__class__ is Deferred:
                deferred[field.key] = value
            elif value.__class__ is PendingLookup:
                lookups.setdefault(value.lookup.loader, []).append(value)
            completed[field.key] = value
        if not (deferred or lookups):
            return completed
        loading = [_load(execution, pending, completed) for pending in lookups.values()]
        return Deferred(_fill, completed, deferred, loading)

    def execute_serially(self, execution: Execution, source: Any) -> Any:
        """Execute each field after the previous one has ended (GraphQL spec, 6.2.2)."""
        completed: dict[str, Any] = {}
        fields = iter(self.fields)
        waiting = self._execute_next(execution, source, fields, completed)
        if waiting is None:
            return completed
        return Deferred(self._execute_rest, execution, source, fields, completed, waiting)

    def _execute_next(
        self,
        execution: Execution,
        source: Any,
        fields: Iterator[SelectedField],
        completed: dict[str, Any],
    ) -> SelectedField | None:
        """Execute fields until one must wait. Returns that field."""
        for field in fields:
            value = field.execute(execution, source, Path(None, field.key, self.type.name))
            completed[field.key] = value
            if value.__class__ is Deferred or value.__class__ is PendingLookup:
                return field
        return None

    async def _execute_rest(
        self,
        execution: Execution,
        source: Any,
        fields: Iterator[SelectedField],
        completed: dict[str, Any],
        waiting: SelectedField | None,
    ) -> dict[str, Any]:
        while waiting is not None:
            value = completed[waiting.key]
            if value.__class__ is PendingLookup:
                await _load(execution, [value], completed)
            else:
                completed[waiting.key] = await value
            waiting = self._execute_next(execution, source, fields, completed)
        return completed


def _load(
    execution: Execution, pending: list[PendingLookup], completed: dict[str, Any]
) -> AfterLookup:
    """Look up all keys with one call, and fill `completed` when it ends."""
    lookup = pending[0].lookup.loader.load([each.lookup.key for each in pending])
    execution.track_lookup(lookup)
    if execution.slicer is None:
        return AfterLookup(lookup, _complete_lookups, lookup, pending, completed)
    return AfterLookup(
        lookup, Deferred, _complete_lookups_sliced, execution.slicer, lookup, pending, completed
    )


def _complete_lookups(
    lookup: asyncio.Future[list[Any]], pending: list[PendingLookup], completed: dict[str, Any]
) -> Deferred | None:
    """Complete the found values. Returns Deferred if fields below them wait."""
    deferred: dict[str, Deferred] = {}
    for index, each in enumerate(pending):
        value = each.field.complete_lookup(each, lookup, index)
        completed[each.field.key] = value
        if value.__class__ is Deferred:
            deferred[each.field.key] = value
    return Deferred(_fill, completed, deferred, ()) if deferred else None


async def _complete_lookups_sliced(
    slicer: TimeSlicer,
    lookup: asyncio.Future[list[Any]],
    pending: list[PendingLookup],
    completed: dict[str, Any],
) -> None:
    if slicer.is_due():
        await slicer.pause()
    if deferred := _complete_lookups(lookup, pending, completed):
        await deferred


async def _fill(
    completed: dict[str, Any], deferred: Mapping[str, Deferred], loading: Sequence[AfterLookup]
) -> dict[str, Any]:
    values = await gather([*deferred.values(), *loading])
    completed.update(zip(deferred, values, strict=False))  # lookups fill it themselves
    return completed
