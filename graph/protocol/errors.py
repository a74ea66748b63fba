"""Errors that end a request before anything of it is executed.

RequestError               answered with its status, code and headers
├── InvalidRequest         not a well-formed GraphQL request
├── OperationRejected      invalid document or variables (graph.execution.errors)
├── OperationEndedError    interrupted, or out of time (graph.execution.errors)
└── ServerError            failed on our side (graph.api.errors)
"""

from collections.abc import Mapping
from typing import Any


class RequestError(Exception):
    """The request is answered with an error before anything of it is executed."""

    def __init__(
        self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})

    @property
    def is_about_graphql(self) -> bool:
        """Whether the request was well-formed, and its document or its variables are not."""
        return False

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [{"message": self.message, "extensions": {"code": self.code}}]


class InvalidRequest(RequestError):
    """Not a well-formed GraphQL request; the message says so to people."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(code, message)
