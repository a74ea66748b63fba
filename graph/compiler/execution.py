"""One execution of an operation, and the place of a field in it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from graphql import (
    ExecutionResult,
    Executor,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    located_error,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.executor import CollectedErrors
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, gather_with_cancel, is_awaitable
from graphql.type import GraphQLResolveInfoHelpers

from graph.compiler.deferred import Later, begun, take_note

if TYPE_CHECKING:
    from graph.compiler.selections import Field


# As the class itself makes it, less a call of Python's.
_info: Callable[[tuple[Any, ...]], "GraphQLResolveInfo[Any]"] = partial(
    tuple.__new__, GraphQLResolveInfo
)


def _gather(values: Sequence[Awaitable[Any]]) -> Awaitable[list[Any]]:
    return gather_with_cancel(*values)


def _hold(held: list[Awaitable[Any]], awaitable: Awaitable[Any]) -> Awaitable[Any]:
    begins = begun(awaitable)
    held.append(begins)
    return begins


def _hold_all(held: list[Awaitable[Any]], values: Sequence[Any]) -> None:
    for value in values:
        if is_awaitable(value):
            _hold(held, value)


class Document:
    """What all executions of an operation have in common."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        *,
        hide_suggestions: bool,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = dict(fragments)
        self.details = {name: FragmentDetails(node) for name, node in fragments.items()}
        self.hide_suggestions = hide_suggestions


class TimeSlicer(Protocol):
    """How an answer with many values is made without keeping other operations waiting."""

    def is_due(self) -> bool:
        """Whether it is time to pause."""

    async def pause(self) -> None: ...

    def render(self, value: Any) -> Any:
        """Return what stands for a completed value in the result."""


class Run:
    """One execution: what it began with, and the errors it has met."""

    __slots__ = (
        "_asked",
        "_careful",
        "_held",
        "_helpers",
        "collected",
        "context",
        "document",
        "root",
        "slicer",
        "variables",
    )

    def __init__(
        self,
        document: Document,
        root: Any,
        context: Any,
        variables: VariableValues,
        slicer: TimeSlicer | None = None,
    ) -> None:
        self.document = document
        self.slicer = slicer
        self.root = root
        self.context = context
        self.variables = variables
        self.collected = CollectedErrors()
        self._careful: Executor[Any] | None = None
        self._helpers: GraphQLResolveInfoHelpers | None = None
        self._held: list[Awaitable[Any]] = []
        self._asked: list[asyncio.Future[Any]] = []

    @property
    def careful(self) -> "Executor[Any]":
        """graphql-core's executor: it has the word on every value that is out of the ordinary."""
        if self._careful is None:
            document = self.document
            self._careful = Executor(
                document.schema,
                document.fragments,
                document.details,
                self.root,
                self.context,
                document.operation,
                self.variables,
                default_field_resolver,
                default_type_resolver,
                default_field_resolver,
                hide_suggestions=document.hide_suggestions,
            )
            self._careful.collected_errors = self.collected
        return self._careful

    @property
    def helpers(self) -> GraphQLResolveInfoHelpers:
        if self._helpers is None:
            self._helpers = GraphQLResolveInfoHelpers(_gather, partial(_hold_all, self._held))
        return self._helpers

    def hold(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """Begin with what a resolver gave to be awaited; it ends with the operation."""
        return _hold(self._held, awaitable)

    def hold_asked(self, asked: "asyncio.Future[Any]") -> None:
        """Have what was asked for end with the operation too."""
        self._asked.append(asked)

    @property
    def holds(self) -> bool:
        """Whether anything is left of what was begun."""
        return bool(self._left())

    def is_whole(self) -> bool:
        """Tell of an operation that has ended whether nothing can be left of it."""
        return not (self._held or self.collected.errors or self._careful)

    async def end(self) -> None:
        """Cancel what was begun and nobody waits for any more, and wait until it has ended."""
        left = self._left()
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _left(self) -> list["asyncio.Future[Any]"]:
        begun: list[Any] = [*self._held, *self._asked]
        if self._careful is not None:
            begun += self._careful.background_futures
        left = []
        for held in begun:
            if asyncio.isfuture(held):
                if held.done():
                    take_note(held)
                else:
                    left.append(held)
        return left

    def result(self, data: dict[str, Any] | None) -> ExecutionResult:
        return ExecutionResult(data, self.collected.errors or None)

    def failed(self, error: GraphQLError) -> ExecutionResult:
        """Give the result of an operation whose every field is null by an error."""
        self.collected.add(error, None)
        return self.result(None)


class Place:
    """A field of an execution: where its errors are, and what its resolver is told."""

    __slots__ = ("_info", "field", "path", "run")

    def __init__(self, run: Run, field: "Field", path: Path) -> None:
        self.run = run
        self.field = field
        self.path = path
        self._info: GraphQLResolveInfo[Any] | None = None

    @property
    def info(self) -> "GraphQLResolveInfo[Any]":
        if self._info is None:
            run, field = self.run, self.field
            document, kind = run.document, field.kind
            self._info = _info(
                (
                    kind.name,
                    field.nodes,
                    kind.definition.type,
                    kind.parent,
                    self.path,
                    document.schema,
                    document.fragments,
                    run.root,
                    document.operation,
                    run.variables,
                    run.context,
                    is_awaitable,
                    None,
                    run.helpers,
                )
            )
        return self._info

    def failed(self, error: Exception, path: Path, *, required: bool) -> None:
        """Take down an error, and let null stand for the value; raise it where null cannot stand.

        (GraphQL spec, 6.4.4)
        """
        located = located_error(error, self.field.nodes, path.as_list())
        if required:
            raise located
        self.run.collected.add(located, path)

    def carefully(self, type_: GraphQLOutputType, value: Any, path: Path) -> Any:
        """Complete a value that is out of the ordinary: at best it is an error."""
        completed = self.run.careful.complete_value(
            type_, self.field.details, self.info, path, value, None
        )
        return Later(_awaited, self.run.hold(completed)) if is_awaitable(completed) else completed


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
