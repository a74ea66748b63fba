"""The state of one execution, and of a field in it."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Protocol

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLOutputType,
    GraphQLResolveInfo,
    VariableValues,
    located_error,
)
from graphql.pyutils import Path, is_awaitable

from graph.compiler.deferred import Deferred, retrieve_exception, start
from graph.compiler.graphql_core_adapter import (
    CollectedErrors,
    FieldDetails,
    OperationSource,
    info_of_execution,
    resolve_info,
)


class TimeSlicer(Protocol):
    """Pauses the execution of a large operation, so that other operations can run."""

    def is_due(self) -> bool:
        """Return whether a pause is due."""

    async def pause(self) -> None: ...

    def render(self, value: Any) -> Any:
        """Return the representation of a completed value in the result."""


class Field(Protocol):
    """The attributes of a field that an execution needs."""

    @property
    def nodes(self) -> list[Any]: ...
    @property
    def details(self) -> list[FieldDetails]: ...
    @property
    def info(self) -> tuple[Any, ...]:
        """The field's part of `GraphQLResolveInfo`."""


class Execution:
    """The state of one execution: its input, its errors and the started work."""

    __slots__ = (
        "_fallback",
        "_info",
        "_lookups",
        "_started",
        "context",
        "errors",
        "root",
        "slicer",
        "source",
        "variables",
    )

    def __init__(
        self,
        source: OperationSource,
        root: Any,
        context: Any,
        variables: VariableValues,
        slicer: TimeSlicer | None = None,
    ) -> None:
        self.source = source
        self.slicer = slicer
        self.root = root
        self.context = context
        self.variables = variables
        self.errors = CollectedErrors()
        self._fallback: Executor[Any] | None = None
        self._info: tuple[Any, ...] | None = None
        self._started: list[Awaitable[Any]] = []
        self._lookups: list[asyncio.Future[Any]] = []

    @property
    def fallback(self) -> "Executor[Any]":
        """graphql-core's executor, which completes unusual values."""
        if self._fallback is None:
            self._fallback = self.source.executor(
                self.root, self.context, self.variables, self.errors
            )
        return self._fallback

    @property
    def info(self) -> tuple[Any, ...]:
        """The execution's part of `GraphQLResolveInfo`."""
        if self._info is None:
            track = partial(_start_all, self._started)
            self._info = info_of_execution(
                self.source, self.root, self.context, self.variables, track
            )
        return self._info

    def start(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """Start an awaitable of a resolver. It is cancelled together with the execution."""
        return _start(self._started, awaitable)

    def track_lookup(self, lookup: "asyncio.Future[Any]") -> None:
        self._lookups.append(lookup)  # it is cancelled together with the execution

    @property
    def has_pending(self) -> bool:
        return bool(self._pending())

    def is_complete(self) -> bool:
        """Return True only if no started work can be pending after the result."""
        return not (self._started or self.errors.errors or self._fallback)

    async def cancel_pending(self) -> None:
        """Cancel work whose result is no longer needed, and wait until it has ended."""
        if not self._pending():
            return
        try:
            # A coroutine that is cancelled before its first step drops what it would have awaited.
            await asyncio.sleep(0)
        finally:
            pending = self._pending()
            for future in pending:
                future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _pending(self) -> list["asyncio.Future[Any]"]:
        started: list[Any] = [*self._started, *self._lookups]
        if self._fallback is not None:
            started += self._fallback.background_futures
        pending = []
        for future in started:
            if asyncio.isfuture(future):
                if future.done():
                    retrieve_exception(future)
                else:
                    pending.append(future)
        return pending

    def result(self, data: dict[str, Any] | None) -> ExecutionResult:
        return ExecutionResult(data, self.errors.errors or None)

    def failed(self, error: GraphQLError) -> ExecutionResult:
        """Return a result whose data is null because of this error."""
        self.errors.add(error, None)
        return self.result(None)


def _start(started: list[Awaitable[Any]], awaitable: Awaitable[Any]) -> Awaitable[Any]:
    future = start(awaitable)
    started.append(future)
    return future


def _start_all(started: list[Awaitable[Any]], values: Sequence[Any]) -> None:
    for value in values:
        if is_awaitable(value):
            _start(started, value)


class FieldContext:
    """One field of an execution: the location of its errors, and `info` for its resolver."""

    __slots__ = ("_info", "execution", "field", "path")

    def __init__(self, execution: Execution, field: Field, path: Path) -> None:
        self.execution = execution
        self.field = field
        self.path = path
        self._info: GraphQLResolveInfo[Any] | None = None

    @property
    def info(self) -> "GraphQLResolveInfo[Any]":
        if self._info is None:
            self._info = resolve_info((*self.field.info, self.path, *self.execution.info))
        return self._info

    def handle_error(self, error: Exception, path: Path, *, required: bool) -> None:
        """Record an error, so that the value is null (GraphQL spec, 6.4.4).

        If the value is `required`, raise the error instead.
        """
        located = located_error(error, self.field.nodes, path.as_list())
        if required:
            raise located
        self.execution.errors.add(located, path)

    def fallback(self, type_: GraphQLOutputType, value: Any, path: Path) -> Any:
        """Complete an unusual value with graphql-core. Most of them raise an error."""
        completed = self.execution.fallback.complete_value(
            type_, self.field.details, self.info, path, value, None
        )
        if is_awaitable(completed):
            return Deferred(_wait, self.execution.start(completed))
        return completed


async def _wait(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
