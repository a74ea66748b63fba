"""WebSocket close codes.

Exception
├── ConnectionClosedError  the server closes the socket with a code and a reason
└── ClientGoneError        the client has closed the socket
"""

from enum import IntEnum
from http import HTTPStatus
from typing import Final

from graph.auth.guard import UNAUTHORIZED
from graph.protocol.errors import RequestError

_MAX_REASON: Final = 123  # bytes


class CloseCode(IntEnum):
    """Codes of RFC 6455 (below 4000) invite a reconnect. Codes from 4000 on are graphql-ws's."""

    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SUCH_PROTOCOL = 4406
    INIT_TIMEOUT = 4408
    ID_IN_USE = 4409
    TOO_MANY_INITS = 4429


class ConnectionClosedError(Exception):
    """The server closes the socket. The reason is cut to 123 bytes.

    `error` is the code of the error that observers see.
    """

    def __init__(self, code: CloseCode, reason: str, error: str = "BAD_REQUEST") -> None:
        self.code = code
        self.error = error
        # RFC 6455 5.5.1 limits the length of the reason and requires UTF-8: no lone surrogates.
        self.reason = reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore")

    def as_request_error(self) -> RequestError:
        return RequestError(self.error, self.reason)


class ClientGoneError(Exception):
    """The client has closed the socket."""


def code_of(error: RequestError) -> CloseCode:
    if error.status == UNAUTHORIZED:
        return CloseCode.FORBIDDEN
    is_fault = error.status == HTTPStatus.INTERNAL_SERVER_ERROR
    return CloseCode.INTERNAL_ERROR if is_fault else CloseCode.TRY_AGAIN_LATER
