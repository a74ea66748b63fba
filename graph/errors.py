"""Top-level errors: what a form cannot fix. Each carries a stable `extensions.code`."""

from typing import Final
from uuid import uuid4

import structlog
from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    FieldNode,
    GraphQLError,
    GraphQLSyntaxError,
    IntValueNode,
)
from strawberry.exceptions import StrawberryInputCoercionError

from db.errors import is_unreachable

log = structlog.get_logger("roster")

MAX_ERRORS: Final = 5  # of an answer
MAX_MESSAGE: Final = 300  # characters of each
UNREADABLE: Final = "The document cannot be read: a value is too long, or nested too deep."
_NOT_NONE: Final = " not to be None."


class InputError(GraphQLError):
    """An argument that the schema's types let through and the directory cannot use."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message, extensions={"code": code})


class InvalidCursor(InputError):
    """A cursor of an event that this directory does not have, or not any more."""

    def __init__(self) -> None:
        message = (
            "This cursor is not valid in this directory, or not any longer. "
            "Start again from a list, without a cursor."
        )
        super().__init__(message, "INVALID_CURSOR")


class Forbidden(GraphQLError):
    """The caller may not read what the field gives."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "FORBIDDEN"})


class SignedOut(GraphQLError):
    """The rights that the caller came with have ended."""

    def __init__(self) -> None:
        message = "You are not signed in any more. Sign in, and come back with your last cursor."
        super().__init__(message, extensions={"code": "UNAUTHENTICATED"})


def client_message(error: GraphQLError) -> str:
    """Return the message of an error of graphql-core's or Strawberry's, less what is Python's.

    It may quote an exception, whose text is about this server, and calls null None.
    """
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    if cause is not None:
        return _of_unreadable(next(iter(error.nodes or ()), None))
    if isinstance(error, StrawberryInputCoercionError) and "Maybe[" in error.message:
        return "Null is not accepted here."
    without_none = error.message.removesuffix(_NOT_NONE)
    return error.message if without_none == error.message else f"{without_none} not to be null."


def _of_unreadable(node: object) -> str:
    if isinstance(node, IntValueNode):
        digits = len(node.value.removeprefix("-"))
        accepted = f"{GRAPHQL_MIN_INT} to {GRAPHQL_MAX_INT}"
        return f"This number has {digits} digits; an Int is from {accepted}."
    return UNREADABLE


def cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def present(error: GraphQLError, request_id: str | None) -> GraphQLError:
    """Give the error that the caller sees, and log what they don't.

    A mistake of the caller's keeps its message. Anything else is a fault of ours, of which they
    learn an id that is in the log, and nothing more.
    """
    if error.extensions and "code" in error.extensions:
        return error
    if isinstance(error, GraphQLSyntaxError):
        return _with(error, error.message, "GRAPHQL_PARSE_FAILED")
    cause = error.original_error
    # A wrong variable comes as a GraphQLError inside another; one that is null, and may only be
    # left out, comes when its field is executed, and points at the argument.
    at_fault = error.path is None or not isinstance(next(iter(error.nodes or ()), None), FieldNode)
    if isinstance(cause, GraphQLError | None) and at_fault:
        return _with(error, client_message(error), "GRAPHQL_VALIDATION_FAILED")
    if error.path is None and isinstance(cause, ValueError | RecursionError):
        return _with(error, UNREADABLE, "GRAPHQL_VALIDATION_FAILED")
    error_id = uuid4().hex
    facts = {"error_id": error_id, "request_id": request_id, "path": error.path}
    if is_unreachable(cause):
        detail = getattr(cause, "orig", None) or cause
        log.error("database unreachable", cause=repr(detail), **facts)
        message = "The directory's database cannot be reached right now. Try again in a moment."
        return _with(error, message, "DATABASE_UNAVAILABLE", error_id)
    log.error("operation crashed", exc_info=cause or error, **facts)
    return _with(error, "Something went wrong on our side.", "INTERNAL_ERROR", error_id)


def _with(
    error: GraphQLError, message: str, code: str, error_id: str | None = None
) -> GraphQLError:
    extensions = {"code": code} | ({"id": error_id} if error_id else {})
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
