"""Masking of errors, and responses as JSON.

RequestError (graph.protocol.errors)
├── OperationRejected      not executed: the document or the variables are invalid
└── OperationEndedError    no field was answered: time limit, shutdown or database
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSyntaxError,
    located_error,
)
from strawberry.types import ExecutionResult as StrawberryResult

from db.errors import is_unreachable
from db.outcome import Outcome
from graph.api.context import Context
from graph.api.errors import (
    CRASHED,
    MAX_ERRORS,
    OUTCOMES,
    RETRY,
    TRY_AGAIN,
    UNAVAILABLE,
    UNREACHABLE,
    UNREADABLE,
    WriteError,
    WriteInterruptedError,
    WriteTimeoutError,
    client_message,
    log_outage,
    says_outcome,
    took_too_long,
    truncate,
)
from graph.protocol.errors import RequestError
from graph.protocol.json import dumps, dumps_in_parts
from graph.shutdown import shutting_down

log = structlog.get_logger("roster")


class OperationRejected(RequestError):
    """The operation cannot be executed."""

    def __init__(self, graphql_errors: Sequence[GraphQLError], context: Any) -> None:
        self.graphql_errors = list(graphql_errors)
        self._errors = masked(graphql_errors, context)
        first = self._errors[0]
        super().__init__(first["extensions"]["code"], first["message"])

    @property
    def is_about_graphql(self) -> bool:
        return True

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self._errors


class OperationEndedError(RequestError):
    """No field of the operation was answered. The response consists of errors only."""

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


def timed_out(context: Context | None, seconds: float, *, reads: bool) -> RequestError:
    if reads or context is None:
        return RequestError("TIMEOUT", took_too_long(seconds), 504)
    errors = _outcomes(context, partial(WriteTimeoutError, seconds))
    return OperationEndedError(errors, "TIMEOUT", 504)


def interrupted(context: Context | None, *, reads: bool) -> RequestError:
    error = shutting_down()
    if reads or context is None:
        return error
    errors = _outcomes(context, WriteInterruptedError)
    return OperationEndedError(errors, error.code, error.status, error.headers)


def _outcomes(context: Context, make: Callable[[Outcome], GraphQLError]) -> list[dict[str, Any]]:
    # One error for each write, with its outcome.
    errors = [
        located_error(make(write.outcome), path=[name]) for name, write in context.writes.items()
    ]
    return masked(errors or [make(Outcome.NOT_DONE)], context)


def raise_if_nothing_answered(result: ExecutionResult, context: Context) -> None:
    """Raise OperationEndedError if all fields failed for the same reason, which has a status.

    The reason is the database, or the time limit of writes.
    """
    if not result.errors:
        return
    if all(map(_is_outage, result.errors)) and _is_empty(result.data):
        raise OperationEndedError(masked(result.errors, context), UNAVAILABLE, 503, RETRY)
    codes = {(error.extensions or {}).get("code") for error in result.errors}
    values = (result.data or {}).values()
    if context.writes and codes == {"TIMEOUT"} and all(value is None for value in values):
        raise OperationEndedError(masked(result.errors, context), "TIMEOUT", 504)


def _is_empty(data: Any) -> bool:
    # An empty list is an answer.
    if isinstance(data, list):
        return bool(data) and all(map(_is_empty, data))
    return data is None or (isinstance(data, dict) and all(map(_is_empty, data.values())))


def _is_outage(error: GraphQLError) -> bool:
    cause: BaseException | None = error.original_error
    return is_unreachable(cause.__cause__ if isinstance(cause, WriteError) else cause)


def formatted(result: ExecutionResult | StrawberryResult, context: Any) -> bytes:
    # Errors come first, as the specification advises (section 7.1).
    return dumps(_response(result, context))


async def formatted_in_parts(result: ExecutionResult, context: Any) -> list[bytes]:
    return await dumps_in_parts(_response(result, context))


def _response(result: ExecutionResult | StrawberryResult, context: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"data": result.data}
    if result.errors:
        response = {"errors": masked(result.errors, context), "data": result.data}
    if result.extensions:
        response["extensions"] = result.extensions
    return response


def masked(errors: Sequence[GraphQLError], context: Any) -> list[dict[str, Any]]:
    """Return the first `MAX_ERRORS` masked errors, and every error that has a write's outcome.

    Of the others, `MAX_ERRORS` internal errors are logged, and the number of the rest.
    """
    request_id = getattr(context, "request_id", None)
    shown = [*errors[:MAX_ERRORS], *filter(says_outcome, errors[MAX_ERRORS:])]
    visible = [mask_error(error, request_id).formatted for error in shown]
    ours = [
        error
        for error in errors[MAX_ERRORS:]
        if not (says_outcome(error) or (error.extensions or {}).get("code"))
    ]
    for error in ours[:MAX_ERRORS]:
        mask_error(error, request_id)
    if more := len(ours[MAX_ERRORS:]):
        log.error("operation has more errors", count=more, request_id=request_id)
    if observed := getattr(context, "observed", None):
        observed.add_errors(error["extensions"]["code"] for error in visible)
    return [{**error, "message": truncate(error["message"])} for error in visible]


def mask_error(error: GraphQLError, request_id: str | None) -> GraphQLError:
    """Return the error that the caller sees. An internal error is logged and replaced.

    An error that the caller caused keeps its message. For any other, the caller gets an id that is
    also in the log.
    """
    if error.extensions and "code" in error.extensions:
        return error
    if isinstance(error, GraphQLSyntaxError):
        return _with(error, error.message, "GRAPHQL_PARSE_FAILED")
    cause = error.original_error
    # An invalid variable is a GraphQLError inside another. A null variable for an argument that
    # can be omitted but not null fails in the execution of its field: the error refers to the
    # argument.
    at_fault = error.path is None or not isinstance(next(iter(error.nodes or ()), None), FieldNode)
    if isinstance(cause, GraphQLError | None) and at_fault:
        return _with(error, client_message(error), "GRAPHQL_VALIDATION_FAILED")
    if error.path is None and isinstance(cause, ValueError | RecursionError):
        return _with(error, UNREADABLE, "GRAPHQL_VALIDATION_FAILED")
    return _mask_fault(error, request_id)


def _mask_fault(error: GraphQLError, request_id: str | None) -> GraphQLError:
    cause: BaseException | None = error.original_error
    outcome: Outcome | None = None
    if isinstance(cause, WriteError):
        outcome, cause = cause.outcome, cause.__cause__
    error_id = uuid4().hex
    facts = {"error_id": error_id, "request_id": request_id, "field": _field(error)}
    facts |= {"outcome": str(outcome)} if outcome else {}
    if is_unreachable(cause):
        log_outage(cause, facts)
        told = [UNREACHABLE, *([OUTCOMES[outcome]] if outcome else ())]
        told += [TRY_AGAIN] if outcome in {None, Outcome.NOT_DONE} else []
        return _with(error, " ".join(told), UNAVAILABLE, error_id, outcome)
    log.error("operation crashed", exc_info=cause or error, **facts)
    return _with(error, CRASHED, "INTERNAL_ERROR", error_id, outcome)


def _field(error: GraphQLError) -> str | None:
    # Its path has the aliases of the request, which can be any text.
    node = next(iter(error.nodes or ()), None)
    return node.name.value if isinstance(node, FieldNode) else None


def _with(
    error: GraphQLError,
    message: str,
    code: str,
    error_id: str | None = None,
    outcome: Outcome | None = None,
) -> GraphQLError:
    extensions: dict[str, Any] = {"code": code}
    extensions |= {"id": error_id} if error_id else {}
    extensions |= {"outcome": outcome} if outcome else {}
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
