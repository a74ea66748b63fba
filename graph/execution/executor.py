"""From a request to its result: the one path for HTTP, WebSocket and Server-Sent Events."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Final

import structlog
from graphql import ExecutionResult, Executor, GraphQLError, OperationType, located_error

from db.outcome import Outcome
from db.time_slices import current_operation, time_slices
from graph.api.context import Context, TimeLimit
from graph.api.errors import (
    MAX_ERRORS,
    Interrupted,
    TimedOut,
    mask_error,
    says_outcome,
    took_too_long,
    truncate,
)
from graph.api.schema import Schema
from graph.compiler import InvalidVariables
from graph.documents.cache import DocumentCache, InvalidDocument, PreparedDocument
from graph.documents.persisted import PersistedDocuments
from graph.documents.queue import FairQueue
from graph.documents.variable_errors import variable_errors
from graph.limits.throttle import RateLimiter
from graph.protocol.errors import RequestError
from graph.protocol.json import dumps, dumps_in_parts
from graph.protocol.request import Request
from graph.shutdown import Shutdown, shutting_down

log = structlog.get_logger("roster")


class OperationRejected(RequestError):
    """The operation cannot be executed; `errors` are as the response has them."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["extensions"]["code"], errors[0]["message"])
        self._errors = errors

    @property
    def is_about_graphql(self) -> bool:
        return True

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self._errors


class OperationEndedError(RequestError):
    """The operation was ended, and there is nothing of it to answer with but errors."""

    def __init__(
        self,
        errors: list[dict[str, Any]],
        code: str,
        status: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, errors[0]["message"], status, headers)
        self._errors = errors

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self._errors


@dataclass(frozen=True, slots=True)
class OperationTimeouts:
    """How long an operation may take."""

    query: float
    mutation: float


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that can be executed, and for whom."""

    request: Request
    prepared: PreparedDocument
    context: Context

    @property
    def type(self) -> OperationType:
        return self.prepared.operation.operation


# What a mutation may take beyond its time, for a write that was ended to let go of its connection.
_LAST_SECONDS: Final = 1.0


class _LargeAnswer:
    """Makes an answer in time slices; each field is written as JSON when it is complete."""

    def __init__(self) -> None:
        slices = time_slices()
        self.is_due = slices.is_due
        self.pause = slices.pause

    def render(self, value: Any) -> Any:
        return dumps(value) if isinstance(value, dict | list) else value


class OperationExecutor:
    def __init__(
        self,
        schema: Schema,
        documents: DocumentCache,
        trusted: PersistedDocuments,
        rate_limiter: RateLimiter,
        seconds: OperationTimeouts,
        shutdown: Shutdown,
    ) -> None:
        self._schema = schema
        self._documents = documents
        self._trusted = trusted
        self._rate_limiter = rate_limiter
        self._seconds = seconds
        self._shutdown = shutdown
        self._queue = FairQueue()

    async def prepare(self, request: Request, context: Context) -> Operation:
        """Read the document and find the operation; raise RequestError where that cannot be."""
        current_operation.set(context)
        text = self._trusted.text(request)
        if self._documents.knows(text):
            return self._prepare(text, request, context)
        async with self._queue.turn(context.throttled_as):
            return self._prepare(text, request, context)

    def _prepare(self, text: str, request: Request, context: Context) -> Operation:
        try:
            prepared = self._documents.prepare(text, request.operation_name, request.variables)
        except InvalidDocument as invalid:
            raise rejected(context, *invalid.errors) from None
        return Operation(request, prepared, context)

    async def execute(self, operation: Operation, root: object = None) -> ExecutionResult:
        """Execute once, an event of a subscription for instance being the root.

        Raises OperationRejected where the variables are wrong.
        """
        compiled = operation.prepared.compiled
        if compiled is None:
            told: Any = self.executor(operation, root).execute_operation()
            result: ExecutionResult = await told if isawaitable(told) else told
            return result
        variables = operation.request.variables
        large = _LargeAnswer() if operation.prepared.is_large else None
        try:
            found = compiled.execute(
                root, operation.context, variables, max_errors=MAX_ERRORS, slicer=large
            )
        except InvalidVariables:
            raise self._wrong_variables(operation) from None
        return found if isinstance(found, ExecutionResult) else await found

    def executor(self, operation: Operation, root: object = None) -> "Executor[Any]":
        """Coerce the variables; raise OperationRejected where they are wrong."""
        name = operation.prepared.operation.name
        built = Executor.build(
            self._schema._schema,  # noqa: SLF001 - Strawberry has no other way to it
            operation.prepared.document,
            root_value=root,
            context_value=operation.context,
            raw_variable_values=operation.request.variables,
            operation_name=name.value if name else None,
            max_coercion_errors=MAX_ERRORS,
            hide_suggestions=not self._documents.suggestions,
        )
        if isinstance(built, list):
            raise self._wrong_variables(operation)
        return built

    def _wrong_variables(self, operation: Operation) -> OperationRejected:
        errors = variable_errors(
            self._schema._schema,  # noqa: SLF001 - as above
            operation.prepared.operation,
            operation.request.variables or {},
            max_errors=MAX_ERRORS,
            hide_suggestions=not self._documents.suggestions,
        )
        return rejected(operation.context, *errors)

    async def run(self, operation: Operation) -> Sequence[bytes]:
        """Execute a query or a mutation, within its time; give the response as JSON, in parts."""
        reads = operation.type is OperationType.QUERY
        seconds = self._seconds.query if reads else self._seconds.mutation
        context = operation.context
        deadline = asyncio.get_running_loop().time() + seconds
        if not reads:
            # Each write is ended at this time, and says what is known of it.
            context.limit = TimeLimit(seconds, deadline)
            deadline += _LAST_SECONDS
        try:
            self._shutdown.check()
            self._rate_limiter.begin_operation()
            try:
                async with asyncio.timeout_at(deadline):
                    result = await self.execute(operation)
                    _raise_if_timed_out(result, context)
                    if operation.prepared.is_large:
                        return await _formatted_in_parts(result, context)
            except BaseException:
                await context.end()
                raise
            finally:
                self._rate_limiter.end_operation()
            return [formatted(result, context)]
        except asyncio.CancelledError:
            if self._shutdown.has_interrupted():
                raise _interrupted(context, reads=reads) from None
            raise
        except TimeoutError:
            raise _timed_out(context, seconds, reads=reads) from None


def rejected(context: Context, *errors: GraphQLError) -> OperationRejected:
    return OperationRejected(_presented(errors, context))


def _timed_out(context: Context, seconds: float, *, reads: bool) -> RequestError:
    if reads:
        return RequestError("TIMEOUT", took_too_long(seconds), 504)
    return OperationEndedError(_outcomes(context, partial(TimedOut, seconds)), "TIMEOUT", 504)


def _interrupted(context: Context, *, reads: bool) -> RequestError:
    if reads:
        return shutting_down()
    refused = shutting_down()
    return OperationEndedError(
        _outcomes(context, Interrupted), refused.code, refused.status, refused.headers
    )


def _outcomes(context: Context, make: Callable[[Outcome], GraphQLError]) -> list[dict[str, Any]]:
    """Say what is known of each write of an operation that has no answer any more."""
    errors = [
        located_error(make(write.outcome), path=[name]) for name, write in context.writes.items()
    ]
    return _presented(errors or [make(Outcome.NOT_DONE)], context)


def _raise_if_timed_out(result: ExecutionResult, context: Context) -> None:
    """Raise OperationEndedError if a mutation failed only because all its writes took too long."""
    if not (context.writes and result.errors):
        return
    codes = {(error.extensions or {}).get("code") for error in result.errors}
    if codes == {"TIMEOUT"} and all(value is None for value in (result.data or {}).values()):
        raise OperationEndedError(_presented(result.errors, context), "TIMEOUT", 504)


def formatted(result: ExecutionResult, context: Context) -> bytes:
    """Give a response as JSON: errors first, as the specification advises (section 7.1)."""
    return dumps(_response(result, context))


async def _formatted_in_parts(result: ExecutionResult, context: Context) -> list[bytes]:
    return await dumps_in_parts(_response(result, context))


def _response(result: ExecutionResult, context: Context) -> dict[str, Any]:
    if not result.errors:
        return {"data": result.data}
    return {"errors": _presented(result.errors, context), "data": result.data}


def _presented(errors: Sequence[GraphQLError], context: Context) -> list[dict[str, Any]]:
    """Return the first errors as the caller sees them. The first that are ours are in the log.

    And every error that says of a write whether it was done.
    """
    shown = [*errors[:MAX_ERRORS], *filter(says_outcome, errors[MAX_ERRORS:])]
    presented = [mask_error(error, context.request_id).formatted for error in shown]
    ours = [
        error
        for error in errors[MAX_ERRORS:]
        if not (says_outcome(error) or (error.extensions or {}).get("code"))
    ]
    for error in ours[:MAX_ERRORS]:
        mask_error(error, context.request_id)
    if more := len(ours[MAX_ERRORS:]):
        log.error("operation has more errors", count=more, request_id=context.request_id)
    return [{**error, "message": truncate(error["message"])} for error in presented]
