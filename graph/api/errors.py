"""Top-level errors, which the user of a form cannot correct. Each has a stable `extensions.code`.

GraphQLError
├── InputError                an argument that is valid for the schema but not for the resolver
│   └── UnknownCursorError    the cursor of an event that does not exist (any more)
├── ForbiddenError            the caller may not read the field
├── SessionEnded              the caller's rights have ended during a subscription
├── ErasureLedgerError        the ledger of erasures cannot be written
├── WriteTimeoutError         a write exceeded the time limit of the request
└── WriteInterruptedError     the server stopped before a write was complete
Exception
└── WriteError                a write failed; `__cause__` is the reason
RequestError
└── ServerError               an internal error outside of the fields of a request
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import structlog
from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLError,
    IntValueNode,
)
from strawberry.exceptions import StrawberryInputCoercionError

from db.error_summary import summarize
from db.errors import is_unreachable
from db.outcome import Outcome
from graph.protocol.errors import RequestError

log = structlog.get_logger("roster")

MAX_ERRORS: Final = 5  # per response
MAX_MESSAGE: Final = 300  # characters of each error
UNREADABLE: Final = "The document cannot be read: a value is too long, or nested too deep."
_NOT_NONE: Final = " not to be None."

UNAVAILABLE: Final = "DATABASE_UNAVAILABLE"
RETRY: Final[Mapping[str, str]] = {"retry-after": "2"}
UNREACHABLE: Final = "The database is unavailable right now."
CRASHED: Final = "Internal server error."
TRY_AGAIN: Final = "Try again in a moment."
# The outcome of a write in the message. Programs read `extensions.outcome`.
OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.NOT_DONE: "This write was not done.",
    Outcome.UNKNOWN: (
        "It is not known whether this write was done. Send it again with the same idempotencyKey, "
        "or read first what is there."
    ),
    Outcome.DONE: "This write was done.",
}


class InputError(GraphQLError):
    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message, extensions={"code": code})


class UnknownCursorError(InputError):
    def __init__(self) -> None:
        message = (
            "This cursor is not valid in this directory, or not any longer. "
            "Start again from a list, without a cursor."
        )
        super().__init__(message, "INVALID_CURSOR")


class ForbiddenError(GraphQLError):
    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "FORBIDDEN"})


class SessionEnded(GraphQLError):
    def __init__(self) -> None:
        message = (
            "Your authentication has ended. "
            "Authenticate again, and reconnect with your last cursor."
        )
        super().__init__(message, extensions={"code": "UNAUTHENTICATED"})


def client_message(error: GraphQLError) -> str:
    """Return a message of graphql-core or Strawberry without details of Python.

    The original may quote an internal exception, and calls null None.
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


class WriteTimeoutError(GraphQLError):
    def __init__(self, seconds: float, outcome: Outcome) -> None:
        message = f"{took_too_long(seconds)} {OUTCOMES[outcome]}"
        super().__init__(message, extensions={"code": "TIMEOUT", "outcome": outcome})


class ErasureLedgerError(GraphQLError):
    def __init__(self, outcome: Outcome) -> None:
        again = (
            TRY_AGAIN if outcome is Outcome.NOT_DONE else "Send it again, so that it is recorded."
        )
        message = f"The ledger of erasures is unavailable right now. {OUTCOMES[outcome]} {again}"
        extensions = {"code": "ERASURE_LEDGER_UNAVAILABLE", "outcome": outcome}
        super().__init__(message, extensions=extensions)


class WriteInterruptedError(GraphQLError):
    def __init__(self, outcome: Outcome) -> None:
        message = f"The server is shutting down and interrupted this request. {OUTCOMES[outcome]}"
        super().__init__(message, extensions={"code": "SHUTTING_DOWN", "outcome": outcome})


class WriteError(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class ServerError(RequestError):
    def __init__(self, code: str, message: str, status: int, error_id: str) -> None:
        super().__init__(code, message, status)
        self._id = error_id

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [{"message": self.message, "extensions": {"code": self.code, "id": self._id}}]


def says_outcome(error: GraphQLError) -> bool:
    """Return whether an error has the outcome of a write."""
    return isinstance(error.original_error, WriteError) or "outcome" in (error.extensions or {})


def took_too_long(seconds: float) -> str:
    return f"The operation took longer than {seconds:g} seconds and was ended."


def server_error(error: Exception, request_id: str | None = None) -> RequestError:
    """Return the response to a request that failed outside of its fields, and log the reason.

    No write of the request was executed.
    """
    if isinstance(error, RequestError):
        return error
    error_id = uuid4().hex
    facts = {"error_id": error_id, "request_id": request_id}
    if is_unreachable(error):
        log_outage(error, facts)
        message = f"{UNREACHABLE} {TRY_AGAIN}"
        return RequestError(UNAVAILABLE, message, 503, RETRY)
    log.error("request crashed", exc_info=error, **facts)
    return ServerError("INTERNAL_ERROR", CRASHED, 500, error_id)


def truncate(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def log_outage(cause: BaseException | None, facts: Mapping[str, Any]) -> None:
    log.error("database unreachable", cause=summarize(cause), **facts)
