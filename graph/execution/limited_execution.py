"""Execution of a schema's operations: compiled, from a document cache, and within limits.

`execute`, `stream` and `subscribe` are the only ways to execute an operation. Strawberry's own
views call `execute` and `stream`, and `subscribe` calls `stream`: no view bypasses the limits.

Most operations are compiled (`graph/compiler`). Strawberry executes the others itself, within the
same limits and with the same results:

- every operation of a schema with extensions or with an `execution_context_class`;
- operations that have a directive other than `@skip` and `@include`;
- requests with `extensions`, which resolvers can read.

Permissions, field extensions, `Parent`, exception handlers and custom field classes take effect in
both cases: `strawberry_types.py` calls Strawberry's own resolver of such a field.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NoReturn, cast

import strawberry
from graphql import ExecutionResult as CoreResult
from graphql import GraphQLError, get_introspection_query, graphql_sync
from graphql import OperationType as CoreOperationType
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import DisableValidation, SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from graph.execution.delegation import StrawberryDelegate, with_limits
from graph.execution.errors import OperationRejected
from graph.execution.executor import OperationExecutor
from graph.execution.operation import Operation
from graph.execution.options import ExecutionOptions
from graph.protocol.errors import RequestError
from graph.protocol.request import Request
from graph.strawberry_adapter import STRAWBERRY_EXECUTION_CONTEXT, ExtensionsRunner

_PLURAL: Final = {
    OperationType.QUERY: "queries",
    OperationType.MUTATION: "mutations",
    OperationType.SUBSCRIPTION: "subscriptions",
}
_UNPARSED: Final = frozenset({"QUERY_TOO_LONG", "TOO_MANY_TOKENS"})
_UNRESOLVED: Final = "OPERATION_RESOLUTION_FAILURE"


class UnsupportedSchemaError(TypeError):
    """The schema declares a feature that is not supported. The message names it."""


class LimitedExecution(strawberry.Schema):
    """A mixin for `strawberry.Schema` and `strawberry.federation.Schema`.

    It accepts the parameters of the class it is combined with, and `options`.
    """

    def __init__(self, *args: Any, options: ExecutionOptions | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_supported()
        self._strawberry = StrawberryDelegate(super().execute, super().stream)
        is_custom = type(self).process_errors is not strawberry.Schema.process_errors
        self._logs_errors = not is_custom
        self._executor = OperationExecutor(
            self,
            options or ExecutionOptions(),
            self._strawberry,
            is_delegating=self._is_delegating(),
            on_errors=self._process if is_custom else None,
        )

    def prepare(self, request: Request, context: Any) -> Awaitable[Operation]:
        """Prepare an operation for one of our transports.

        The transport checks the operation's type and runs it to get the response as JSON. Raises
        OperationRejected if the document is invalid, or another RequestError.
        """
        if self._executor.is_delegating:
            return self._prepare_delegated(request, context)
        return self._executor.prepare(request, context)

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or a mutation, as Strawberry documents it and within the limits.

        Errors are those that resolvers raised. The transports and `MaskErrors` mask them.
        """
        if not query:
            raise MissingQueryError
        request = Request(query, variable_values, operation_name)
        try:
            operation = await self._executor.prepare(
                request, context_value, root_value, operation_extensions, allowed_operation_types
            )
        except RequestError as error:
            return await self._rejected(error, request, context_value)
        if operation.is_compiled:
            _check_type(operation)
        return await self._result(operation)

    def execute_sync(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("This schema executes asynchronously: use `await schema.execute(...)`.")

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Execute any operation and stream its results, as Strawberry documents it."""
        request = Request(query or "", variable_values, operation_name)
        preparing = self._executor.prepare(
            request, context_value, root_value, operation_extensions, allowed_operation_types
        )
        return self._stream_results(request, context_value, preparing)

    def introspect(self) -> dict[str, Any]:
        found = graphql_sync(self._executor.schema, get_introspection_query())
        return cast("dict[str, Any]", found.data)

    def create_extensions_runner(
        self, execution_context: ExecutionContext, extensions: list[SchemaExtension]
    ) -> ExtensionsRunner:
        limited = with_limits(extensions, self._executor.documents, execution_context)
        return super().create_extensions_runner(execution_context, limited)

    async def _result(self, operation: Operation) -> ExecutionResult:
        work = self._execute_compiled if operation.is_compiled else self._strawberry.execute
        try:
            return await self._executor.limited(operation, work)
        except RequestError as error:
            return PreExecutionError(None, _graphql_errors(error))

    async def _execute_compiled(self, operation: Operation) -> ExecutionResult:
        result = await self._executor.execute(operation, operation.root)
        return self._converted(operation, result)

    async def _stream_results(
        self, request: Request, context: Any, preparing: Awaitable[Operation]
    ) -> AsyncGenerator[Any, None]:
        try:
            source = self._stream_operation(await preparing)
        except RequestError as error:
            source = self._stream_rejected(error, request, context)
        async with aclosing(source) as results:
            async for result in results:
                yield result

    def _stream_operation(self, operation: Operation) -> AsyncGenerator[Any, None]:
        if operation.is_compiled:
            return self._stream_compiled(operation)
        if operation.type is CoreOperationType.SUBSCRIPTION:
            return self._strawberry.stream(operation)
        return self._stream_limited(operation)

    def _stream_rejected(
        self, error: RequestError, request: Request, context: Any
    ) -> AsyncGenerator[Any, None]:
        if isinstance(error, OperationRejected) and self._runs_hooks_for(error):
            return self._strawberry.report_stream(error, **_parameters(request, context))
        return self._stream_rejection(error, request, context)

    async def _stream_rejection(
        self, error: RequestError, request: Request, context: Any
    ) -> AsyncGenerator[Any, None]:
        try:
            yield await self._rejected(error, request, context)
        except CannotGetOperationTypeError:
            yield PreExecutionError(None, _graphql_errors(error))

    async def _stream_compiled(self, operation: Operation) -> AsyncGenerator[Any, None]:
        try:
            _check_type(operation)
            if operation.type is not CoreOperationType.SUBSCRIPTION:
                yield await self._result(operation)
                return
            async with _closing(aiter(await operation.subscribe())) as events:
                async for event in events:
                    yield self._converted(operation, await operation.execute(event))
        except OperationRejected as error:
            yield self._failed(error.graphql_errors)
        except InvalidOperationTypeError as error:
            message = f"{_PLURAL[error.operation_type]} are not allowed"
            yield self._failed([GraphQLError(message, original_error=error)])
        except Exception as error:  # noqa: BLE001 - as in Strawberry, the error ends the stream
            yield self._converted(operation, CoreResult(None, [_located(error)]))

    async def _stream_limited(self, operation: Operation) -> AsyncGenerator[Any, None]:
        try:
            for result in await self._executor.limited(operation, self._streamed_results):
                yield result
        except RequestError as error:
            yield PreExecutionError(None, _graphql_errors(error))

    async def _streamed_results(self, operation: Operation) -> list[Any]:
        return [result async for result in self._strawberry.stream(operation)]

    async def _rejected(
        self, error: RequestError, request: Request, context: Any
    ) -> ExecutionResult:
        if not isinstance(error, OperationRejected):
            return PreExecutionError(None, _graphql_errors(error))
        if self._runs_hooks_for(error):
            return await self._strawberry.report(error, **_parameters(request, context))
        if error.code == _UNRESOLVED:
            raise CannotGetOperationTypeError(request.operation_name)
        return self._failed(error.graphql_errors)

    async def _prepare_delegated(self, request: Request, context: Any) -> Operation:
        try:
            return await self._executor.prepare(request, context)
        except OperationRejected as error:
            if error.code in _UNPARSED or error.code == _UNRESOLVED:
                raise
            known = Request(self._executor.text(request), request.variables, request.operation_name)
            result = await self._rejected(error, known, context)
        raise OperationRejected(result.errors or (), context)

    def _runs_hooks_for(self, error: OperationRejected) -> bool:
        return self._executor.is_delegating and error.code not in _UNPARSED

    def _failed(self, errors: list[GraphQLError]) -> PreExecutionError:
        self.process_errors(errors)
        return PreExecutionError(None, errors)

    def _converted(self, operation: Operation, result: CoreResult) -> ExecutionResult:
        if result.errors and self._logs_errors:
            self._process(operation, result)
        return ExecutionResult(result.data, result.errors, result.extensions)

    def _process(self, operation: Operation, result: CoreResult) -> None:
        errors = result.errors or []
        context = ExecutionContext(
            query=operation.text,
            schema=self,
            allowed_operations=list(OperationType),
            context=operation.context,
            root_value=operation.root,
            variables=operation.request.variables,
            provided_operation_name=operation.request.operation_name,
            graphql_document=operation.prepared.document,
            pre_execution_errors=errors,
            result=result,
            operation_extensions=operation.extensions,
        )
        self.process_errors(errors, context)

    def _is_delegating(self) -> bool:
        return bool(
            self.extensions
            or self.execution_context_class is not STRAWBERRY_EXECUTION_CONTEXT
            or type(self).get_extensions is not strawberry.Schema.get_extensions
        )

    def _check_supported(self) -> None:
        if self.config.enable_experimental_incremental_execution:
            raise UnsupportedSchemaError(
                "`enable_experimental_incremental_execution` is not supported: "
                "the limits of documents do not cover @defer and @stream."
            )
        for extension in self.get_extensions():
            if isinstance(extension, DisableValidation):
                raise UnsupportedSchemaError(
                    "The extension `DisableValidation` is not supported: "
                    "every document is validated before it is executed."
                )


@asynccontextmanager
async def _closing(events: AsyncIterator[Any]) -> AsyncGenerator[AsyncIterator[Any], None]:
    # An iterator that is not a generator may lack `aclose`.
    try:
        yield events
    finally:
        if close := getattr(events, "aclose", None):
            await close()


def _parameters(request: Request, context: Any) -> dict[str, Any]:
    assert request.query
    return {
        "query": request.query,
        "variable_values": request.variables,
        "context_value": context,
        "operation_name": request.operation_name,
    }


def _check_type(operation: Operation) -> None:
    kind = OperationType(operation.type.value)
    if operation.allowed is not None and kind not in operation.allowed:
        raise InvalidOperationTypeError(kind)


def _graphql_errors(error: RequestError) -> list[GraphQLError]:
    if isinstance(error, OperationRejected):
        return error.graphql_errors
    return [
        GraphQLError(each["message"], path=each.get("path"), extensions=each["extensions"])
        for each in error.errors
    ]


def _located(error: Exception) -> GraphQLError:
    if isinstance(error, GraphQLError):
        return error
    return GraphQLError(str(error), original_error=error)
