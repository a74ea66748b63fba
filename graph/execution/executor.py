"""Execution of a request: the path of every transport and of `Schema.execute`."""

import asyncio
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from inspect import isawaitable
from math import inf
from typing import Any, Final, TypeVar

import strawberry
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationType,
    create_source_event_stream,
)
from strawberry.types import ExecutionResult as StrawberryResult
from strawberry.types.graphql import OperationType as StrawberryOperationType

from db.replication.session import RoutedSession
from db.time_slices import current_operation, time_slices
from graph.api.context import Context, TimeLimit
from graph.api.errors import MAX_ERRORS
from graph.compiler import InvalidVariables
from graph.documents.cache import DocumentCache, PreparedDocument
from graph.documents.parsing import InvalidDocument
from graph.documents.queue import FairQueue
from graph.documents.variable_errors import variable_errors
from graph.execution.errors import (
    OperationRejected,
    formatted,
    formatted_in_parts,
    interrupted,
    raise_if_nothing_answered,
    timed_out,
)
from graph.execution.operation import Operation, StrawberryExecution
from graph.execution.options import ExecutionOptions
from graph.execution.positions import add_position, route_reads
from graph.execution.strawberry_types import StrawberryResolvers
from graph.protocol.json import dumps
from graph.protocol.request import Request
from graph.strawberry_adapter import core_schema

T = TypeVar("T")
# Additional time of a mutation, in which an interrupted write releases its connection.
_LAST_SECONDS: Final = 1.0


class _LargeAnswer:
    """Builds a response in time slices. Each field is serialised when it is complete."""

    def __init__(self) -> None:
        slices = time_slices()
        self.is_due = slices.is_due
        self.pause = slices.pause

    def render(self, value: Any) -> Any:
        return dumps(value) if isinstance(value, dict | list) else value


class OperationExecutor:
    def __init__(
        self,
        schema: strawberry.Schema,
        options: ExecutionOptions,
        strawberry_execution: StrawberryExecution,
        *,
        is_delegating: bool = False,
        on_errors: Callable[[Operation, ExecutionResult], None] | None = None,
    ) -> None:
        """Compile operations. With `is_delegating`, Strawberry executes all of them.

        `on_errors` is called for each result of a compiled operation that has errors.
        """
        self.schema: GraphQLSchema = core_schema(schema)
        self.is_delegating = is_delegating
        self.documents = DocumentCache(
            self.schema,
            options.limits,
            StrawberryResolvers(schema, options.serializers, shares=options.shares_arguments),
            introspection=options.introspection,
            suggestions=options.introspection and not schema.config.disable_field_suggestions,
        )
        self.strawberry = strawberry_execution
        self._on_errors = on_errors
        self._persisted = options.persisted
        self._rate_limiter = options.rate_limiter
        self._timeouts = options.timeouts
        self._shutdown = options.shutdown
        self._queue = FairQueue()

    def text(self, request: Request) -> str:
        """Return a request's document. Raises RequestError if it is unknown or not accepted."""
        return self._persisted.text(request)

    async def prepare(
        self,
        request: Request,
        context: Any,
        root: Any = None,
        extensions: dict[str, Any] | None = None,
        allowed: Iterable[StrawberryOperationType] | None = None,
    ) -> Operation:
        """Return the operation of a request. A new document is parsed and checked in the queue.

        Raises OperationRejected, or another RequestError for an unknown persisted document.
        """
        current_operation.set(context)
        text = self._persisted.text(request)
        if self.documents.knows(text):
            prepared = self._prepared(text, request, context)
        else:
            async with self._queue.turn(getattr(context, "throttled_as", "")):
                prepared = self._prepared(text, request, context)
        operation = Operation(self, request, text, prepared, context, root, extensions, allowed)
        if observed := getattr(context, "observed", None):
            known = text in self._persisted.documents
            observed.identify(prepared.operation, text, is_persisted=known)
        return operation

    def _prepared(self, text: str, request: Request, context: Any) -> PreparedDocument:
        try:
            return self.documents.prepare(text, request.operation_name, request.variables)
        except InvalidDocument as invalid:
            raise OperationRejected(invalid.errors, context) from None

    async def execute(self, operation: Operation, root: object = None) -> ExecutionResult:
        """Execute without a time limit. Raises OperationRejected if the variables are invalid."""
        compiled = operation.prepared.compiled
        if compiled is None or not operation.is_compiled:
            return _core_result(await self.strawberry.execute(operation))
        variables = operation.request.variables
        large = _LargeAnswer() if operation.prepared.is_large else None
        try:
            found = compiled.execute(
                root, operation.context, variables, max_errors=MAX_ERRORS, slicer=large
            )
        except InvalidVariables:
            raise self._invalid_variables(operation) from None
        result = found if isinstance(found, ExecutionResult) else await found
        if result.errors and self._on_errors:
            self._on_errors(operation, result)
        return result

    async def subscribe(self, operation: Operation) -> AsyncIterable[Any]:
        """Return the source of a subscription's events. Raises OperationRejected."""
        name = operation.prepared.operation.name
        executor: Any = Executor.build(
            self.schema,
            operation.prepared.document,
            root_value=operation.root,
            context_value=operation.context,
            raw_variable_values=operation.request.variables,
            operation_name=name.value if name else None,
            max_coercion_errors=MAX_ERRORS,
            hide_suggestions=not self.documents.suggestions,
        )
        if isinstance(executor, list):
            raise self._invalid_variables(operation)
        found: Any = create_source_event_stream(executor)
        source: Any = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            raise OperationRejected(source.errors or (), operation.context)
        events: AsyncIterable[Any] = source
        return events

    def _invalid_variables(self, operation: Operation) -> OperationRejected:
        errors = variable_errors(
            self.schema,
            operation.prepared.operation,
            operation.request.variables or {},
            max_errors=MAX_ERRORS,
            hide_suggestions=not self.documents.suggestions,
        )
        return OperationRejected(errors, operation.context)

    def run(self, operation: Operation) -> Awaitable[Sequence[bytes]]:
        return self.limited(operation, self._respond)

    async def _respond(self, operation: Operation) -> Sequence[bytes]:
        context = operation.context
        result = await self.execute(operation, operation.root)
        if isinstance(context, Context):
            raise_if_nothing_answered(result, context)
            if isinstance(context.session, RoutedSession):
                is_query = operation.type is OperationType.QUERY
                await add_position(result, context, context.session, is_query=is_query)
        if operation.prepared.is_large:
            return await formatted_in_parts(result, context)
        return [formatted(result, context)]

    async def limited(self, operation: Operation, work: Callable[[Operation], Awaitable[T]]) -> T:
        """Execute within the time limit and the limit of concurrent operations.

        Raises RequestError if a limit is exceeded or the server shuts down.
        """
        reads = operation.type is OperationType.QUERY
        seconds = self._timeouts.query if reads else self._timeouts.mutation
        context = operation.context if isinstance(operation.context, Context) else None
        session = context.session if context else None
        routed = session if isinstance(session, RoutedSession) else None
        deadline = asyncio.get_running_loop().time() + seconds
        if not reads:
            if context:
                # Each write is ended at this time and reports its outcome.
                context.limit = TimeLimit(seconds, deadline)
            deadline += _LAST_SECONDS
        try:
            self._shutdown.check()
            self._rate_limiter.begin_operation()
            try:
                async with asyncio.timeout_at(None if deadline == inf else deadline):
                    if routed and context and reads:
                        route_reads(operation.request, context, routed)
                    return await work(operation)
            except BaseException:
                if context:
                    await context.session.close()
                raise
            finally:
                self._rate_limiter.end_operation()
                if routed and context:
                    routed.finish(context.throttled_as)
        except asyncio.CancelledError:
            if self._shutdown.has_interrupted():
                raise interrupted(context, reads=reads) from None
            raise
        except TimeoutError:
            raise timed_out(context, seconds, reads=reads) from None


def _core_result(result: StrawberryResult) -> ExecutionResult:
    errors: list[GraphQLError] | None = result.errors
    return ExecutionResult(result.data, errors, result.extensions or None)
